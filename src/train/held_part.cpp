// Making what a rank computes with, and making it anew for other cuts.
#include "held_part.h"

#include <utility>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/memory.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/move_blocks.h"

namespace lshdp::train {

HeldPart::HeldPart(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options,
                   SpeedEmulator& emulator, Trace& trace)
    : communicator_(communicator),
      model_(model),
      setup_(options.setup),
      emulator_(emulator),
      trace_(trace),
      walker_options_(measure::walker_options(options.setup)),
      store_options_(measure::store_options(options.setup, options.adamw)),
      layout_(options.layout) {
  walker_options_.label_smoothing = options.label_smoothing;
  walker_options_.seed = options.seed;
  store_options_.loss_scaling = options.loss_scaling;
  if (layout_) store_options_.placement = std::make_shared<parallel::Placement>(*layout_, communicator);
  store_ = parallel::make_store(model, communicator, store_options_, &trace);
  make_walker();
}

void HeldPart::make_walker() {
  if (layout_) walker_options_.ranges = parallel::ranges_of(*layout_, communicator_.rank());
  walker_ = std::make_unique<parallel::BlockWalker>(model_, *store_, walker_options_, &emulator_, &trace_);
  if (!layout_) return;
  pipeline_ = std::make_unique<parallel::Pipeline>(*layout_, model_, communicator_, *walker_, setup_.compute_device,
                                                   setup_.strategy.precision, &trace_);
}

bool HeldPart::can_move() const {
  return layout_ && layout_->replicas.size() == 1 && layout_->replicas.front().stages.size() > 1;
}

std::int64_t HeldPart::blocks() const {
  if (!layout_) return std::ssize(model_.blocks);
  std::int64_t blocks = 0;
  for (const parallel::BlockRange& range : parallel::ranges_of(*layout_, communicator_.rank()))
    blocks += static_cast<std::int64_t>(range.end - range.begin);
  return blocks;
}

double HeldPart::train_step(const parallel::Update& update, const data::Batch& batch,
                            const std::vector<std::int64_t>& micro_batches, std::int64_t first_sample) {
  if (pipeline_)
    return pipeline_->train_step(update, batch.input, batch.target, micro_batches, first_sample, batch.positions);
  return walker_->train_step(update, batch.input, batch.target, micro_batches, first_sample, batch.positions);
}

std::int64_t HeldPart::move_to(const plan::Layout& layout) {
  compute_before_ = compute_seconds();
  wait_before_ = wait_seconds();
  pipeline_.reset();
  walker_.reset();
  store_options_.placement = std::make_shared<parallel::Placement>(layout, communicator_);
  const std::int64_t bytes = parallel::moved_bytes(model_, store_options_, *layout_, layout);
  try {
    store_ = parallel::move_blocks(std::move(store_), model_, communicator_, *layout_, layout, store_options_, &trace_);
  } catch (const std::exception& error) {
    if (!is_out_of_memory(error)) throw;
    throw RunError(
        fmt::format("rank {}: out of memory while blocks moved to other ranks: {}; give it more --memory, "
                    "or --rebalance off",
                    communicator_.rank(), error.what()));
  }
  layout_ = layout;
  make_walker();
  return bytes;
}

double HeldPart::compute_seconds() const {
  return compute_before_ + walker_->compute_seconds() + store_->usage().update_seconds;
}

double HeldPart::wait_seconds() const {
  return wait_before_ + store_->usage().wait_seconds + (pipeline_ ? pipeline_->wait_seconds() : 0);
}

}  // namespace lshdp::train
