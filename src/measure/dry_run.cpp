// Training steps without a network, for memory and for time.
#include "dry_run.h"

#include <algorithm>
#include <utility>

#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/clock.h"
#include "lshdp/model/weights.h"

namespace lshdp::measure {
namespace {

constexpr std::uint64_t kSeed = 1;

/// A step that overflows would leave out the update. Nobody learns from the gradients: the smallest scale is best.
parallel::StoreOptions options_of(const RankSetup& setup) {
  parallel::StoreOptions options = store_options(setup);
  options.loss_scaling.initial = 1;
  return options;
}

}  // namespace

model::SyntheticBatch synthetic_batch_there(const model::InputSpec& input, std::int64_t batch, std::uint64_t seed,
                                            const RankSetup& setup) {
  const model::SyntheticBatch made = model::synthetic_batch(input, batch, seed);
  return {setup.compute_device->upload(made.input), setup.compute_device->upload(made.target)};
}

DryRun::DryRun(const model::Model& model, const RankSetup& setup, int rank, int ranks, SpeedEmulator* emulator)
    : model_(model),
      setup_(setup),
      communicator_(comm::make_null_communicator(rank, ranks)),
      store_(parallel::make_store(model, *communicator_, options_of(setup))),
      walker_(model, *store_, walker_options(setup), emulator) {}

void DryRun::initialise() {
  const auto scope = scope_of_values(setup_);
  store_->set_values(model::initial_values(model_, kSeed));
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
  walker_.backward_pass(walker_.forward_pass(batch.input), batch.target, true);
  in_step_ = false;
  input_.reset();
  store_->synchronize();
}

double DryRun::time_micro_batches(const model::SyntheticBatch& batch, int count) {
  begin_step(batch);
  const double begun = now_seconds();
  for (int i = 0; i < count; ++i) walker_.backward_pass(walker_.forward_pass(batch.input), batch.target, false);
  return now_seconds() - begun;
}

std::vector<plan::BlockProfile> DryRun::measure_blocks(const MemoryBudget& budget) {
  const model::SyntheticBatch batch = synthetic_batch_there(model_.input, 1, kSeed, setup_);
  begin_step(batch);
  std::vector<plan::BlockProfile> blocks;
  std::int64_t used = budget.used();
  parallel::Activations activations =
      walker_.forward_pass(batch.input, [&](std::size_t block, const at::Tensor& output) {
        const std::int64_t left = std::max<std::int64_t>(0, budget.used() - std::exchange(used, budget.used()));
        blocks.push_back({model_.blocks[block]->name(), model_.parameter_count(block), left,
                          static_cast<std::int64_t>(output.nbytes())});
      });
  walker_.backward_pass(std::move(activations), batch.target, false);
  return blocks;
}

}  // namespace lshdp::measure
