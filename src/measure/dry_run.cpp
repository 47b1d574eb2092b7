// Training steps without a network, for memory and for time.
#include "dry_run.h"

#include <algorithm>
#include <utility>

#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/clock.h"
#include "lshdp/model/trained_part.h"
#include "lshdp/model/weights.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/precision.h"
#include "lshdp/plan/layout.h"

namespace lshdp::measure {
namespace {

constexpr std::uint64_t kSeed = 1;

/// A step that overflows would leave out the update. Nobody learns from the gradients: the smallest scale is best.
parallel::StoreOptions options_of(const RankSetup& setup, std::shared_ptr<const parallel::Placement> placement) {
  parallel::StoreOptions options = store_options(setup);
  options.loss_scaling.initial = 1;
  options.placement = std::move(placement);
  return options;
}

/// Of a pipeline in which `rank` has these ranges and a rank beside it all others; null: `rank` has the whole model.
std::shared_ptr<const parallel::Placement> placement_of(const std::vector<parallel::BlockRange>& ranges,
                                                        std::size_t blocks, comm::Communicator& communicator) {
  if (ranges.size() == 1 && ranges.front().begin == 0 && ranges.front().end == blocks) return nullptr;
  const std::int64_t rank = communicator.rank(), other = (rank + 1) % communicator.size();
  plan::Replica pipeline{.batch = 1, .micro_batches = {1}};
  std::size_t done = 0;
  for (const parallel::BlockRange& range : ranges) {
    if (range.begin > done) pipeline.stages.push_back({.rank = other, .start = done, .end = range.begin});
    pipeline.stages.push_back({.rank = rank, .start = range.begin, .end = range.end});
    done = range.end;
  }
  if (done < blocks) pipeline.stages.push_back({.rank = other, .start = done, .end = blocks});
  const plan::Layout layout{.blocks = blocks, .replicas = {pipeline}};
  return std::make_shared<parallel::Placement>(layout, communicator);
}

parallel::WalkerOptions walking(const RankSetup& setup, const std::vector<parallel::BlockRange>& ranges) {
  parallel::WalkerOptions options = walker_options(setup);
  options.ranges = ranges;
  return options;
}

}  // namespace

model::SyntheticBatch synthetic_batch_there(const model::InputSpec& input, std::int64_t batch, std::uint64_t seed,
                                            const RankSetup& setup) {
  const model::SyntheticBatch made = model::synthetic_batch(input, batch, seed);
  const auto there = [&](const at::Tensor& tensor) {
    return tensor.defined() ? setup.compute_device->upload(tensor) : tensor;
  };
  return {there(made.input), there(made.target), there(made.positions)};
}

DryRun::DryRun(const model::Model& model, const RankSetup& setup, int rank, int ranks, SpeedEmulator* emulator,
               std::vector<parallel::BlockRange> ranges)
    : model_(model),
      setup_(setup),
      ranges_(ranges.empty() ? std::vector<parallel::BlockRange>{{0, model.blocks.size()}} : std::move(ranges)),
      communicator_(comm::make_null_communicator(rank, ranks)),
      placement_(placement_of(ranges_, model.blocks.size(), *communicator_)),
      store_(parallel::make_store(model, *communicator_, options_of(setup, placement_))),
      walker_(model, *store_, walking(setup, ranges_), emulator) {}

void DryRun::initialise() {
  const auto scope = scope_of_values(setup_);
  store_->take_values(model::initial_block_values(model_, kSeed));
}

/// A step goes on over batches of all sizes, as far as the store lets it.
void DryRun::begin_step(const model::SyntheticBatch& batch) {
  if (in_step_ && walker_.looks_up_rows() && !batch.input.is_same(input_)) {
    walker_.empty_pass();
    store_->synchronize();
    in_step_ = false;
  }
  if (in_step_) return;
  walker_.begin_step({.step = ++step_, .global_terms = batch.target.numel()}, 1, batch.input);
  input_ = batch.input;
  in_step_ = true;
}

void DryRun::finish_step(const model::SyntheticBatch& batch) {
  begin_step(batch);
  backward(forward(batch), batch, true);
  in_step_ = false;
  input_.reset();
  store_->synchronize();
}

double DryRun::time_micro_batches(const model::SyntheticBatch& batch, int count) {
  begin_step(batch);
  const double begun = now_seconds();
  for (int i = 0; i < count; ++i) backward(forward(batch), batch, false);
  return now_seconds() - begun;
}

std::vector<plan::BlockProfile> DryRun::measure_blocks(const MemoryBudget& budget) {
  const model::SyntheticBatch batch = synthetic_batch_there(model_.input, 1, kSeed, setup_);
  begin_step(batch);
  for (const parallel::BlockRange& range : ranges_) {
    if (range.begin > 0) made_up(range.begin - 1, 1);  // what is read is another block's
  }
  std::vector<plan::BlockProfile> blocks;
  const auto compute_bytes =
      static_cast<std::int64_t>(at::elementSize(parallel::compute_type(setup_.strategy.precision)));
  std::int64_t used = budget.used();
  walker_.observe_forward([&](std::size_t block, const at::Tensor&, const at::Tensor& output) {
    const std::int64_t left = std::max<std::int64_t>(0, budget.used() - std::exchange(used, budget.used()));
    blocks.push_back({.name = model_.blocks[block]->name(),
                      .parameters = model_.trained_count(block),
                      .activation_bytes = left,
                      .output_bytes = static_cast<std::int64_t>(output.nbytes()),
                      .shares_with = {},
                      .frozen_bytes = model::frozen_bytes(*model_.blocks[block], compute_bytes),
                      .expanded_bytes = model::expanded_bytes(*model_.blocks[block], compute_bytes)});
  });
  std::vector<parallel::Activations> activations = forward(batch);
  walker_.observe_forward({});
  backward(std::move(activations), batch, false);
  return blocks;
}

std::vector<parallel::Activations> DryRun::forward(const model::SyntheticBatch& batch) {
  std::vector<parallel::Activations> activations;
  for (const parallel::BlockRange& range : ranges_) {
    const at::Tensor& input = range.begin == 0 ? batch.input : made_up(range.begin - 1, batch.input.size(0));
    activations.push_back(walker_.forward_pass(range, input, 0, batch.positions));
  }
  return activations;
}

void DryRun::backward(std::vector<parallel::Activations> activations, const model::SyntheticBatch& batch, bool last) {
  for (std::size_t index = ranges_.size(); index-- > 0;) {
    const std::size_t end = ranges_[index].end;
    const at::Tensor& given = end == model_.blocks.size() ? batch.target : made_up(end - 1, batch.input.size(0));
    walker_.backward_pass(std::move(activations[index]), given, last);
  }
}

/// In place of what another rank would send: an output of `block`, or a gradient of it.
const at::Tensor& DryRun::made_up(std::size_t block, std::int64_t samples) {
  at::Tensor& tensor = made_up_[{block, samples}];
  if (tensor.defined()) return tensor;
  const HostMemoryScope host;
  if (shapes_.empty()) shapes_ = model::shapes_of(model_, model_.blocks.size() - 1);
  std::vector<std::int64_t> shape = shapes_[block].output;
  shape.insert(shape.begin(), samples);
  tensor = setup_.compute_device->upload(at::full(shape, 0.01, parallel::compute_type(setup_.strategy.precision)));
  return tensor;
}

}  // namespace lshdp::measure
