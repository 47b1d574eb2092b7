// Steps as the trainer runs them, without data, metrics and checkpoints.
#include "calibration_run.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include "dry_run.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/clock.h"
#include "lshdp/core/emulate.h"
#include "lshdp/core/median.h"
#include "lshdp/measure/host_memory.h"
#include "lshdp/model/weights.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/pipeline.h"
#include "lshdp/parallel/placement.h"
#include "lshdp/parallel/walker.h"

namespace lshdp::measure {
namespace {

constexpr std::uint64_t kSeed = 1;

std::int64_t passes_of(const plan::Plan& plan) {
  std::size_t passes = 1;
  for (const plan::RankPlan& rank : plan.ranks) passes = std::max(passes, rank.micro_batches.size());
  return static_cast<std::int64_t>(passes);
}

/// What the rank trains: in a layout its replica's batch, of which it works on some blocks.
plan::RankPlan part_of(const CalibrationPlan& calibration, int rank) {
  if (!calibration.layout) return calibration.plan.ranks[static_cast<std::size_t>(rank)];
  const std::optional<int> data_rank = plan::data_rank_of(*calibration.layout, rank);
  return data_rank ? calibration.plan.ranks[static_cast<std::size_t>(*data_rank)] : plan::RankPlan();
}

std::shared_ptr<const parallel::Placement> placement_of(const CalibrationPlan& calibration,
                                                        comm::Communicator& communicator) {
  if (!calibration.layout) return nullptr;
  return std::make_shared<parallel::Placement>(*calibration.layout, communicator);
}

parallel::WalkerOptions walking(const RankSetup& setup, const CalibrationPlan& calibration, int rank) {
  parallel::WalkerOptions options = walker_options(setup);
  if (calibration.layout) options.ranges = parallel::ranges_of(*calibration.layout, rank);
  return options;
}

/// One rank's part of the steps.
class CalibrationRun {
 public:
  CalibrationRun(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                 const CalibrationPlan& calibration)
      : mine_(part_of(calibration, communicator.rank())),
        update_{.learning_rate = 0,
                .global_terms = calibration.plan.total * model.terms_per_sample(),
                .passes = passes_of(calibration.plan)},
        emulator_(setup.speed),
        placement_(placement_of(calibration, communicator)),
        store_(make_store(model, communicator, setup, calibration.plan)),
        walker_(model, *store_, walking(setup, calibration, communicator.rank()), &emulator_),
        one_core_for_all_(!calibration.layout && !setup.compute_device->has_own_memory() && setup.threads == 1 &&
                          usable_cores() == 1) {
    if (calibration.layout)
      pipeline_ = std::make_unique<parallel::Pipeline>(*calibration.layout, model, communicator, walker_,
                                                       setup.compute_device, setup.strategy.precision);
    const auto scope = scope_of_values(setup);
    store_->take_values(
        parallel::values_of_held_blocks(model, placement_.get(), model::initial_block_values(model, kSeed)));
    if (mine_.batch > 0) batch_ = model::synthetic_batch(model.input, mine_.batch, kSeed);
  }

  void step() {
    ++update_.step;
    const std::vector<std::int64_t> micro_batches = plan::micro_batches_of(mine_, mine_.batch);
    if (pipeline_)
      pipeline_->train_step(update_, batch_.input, batch_.target, micro_batches, 0, batch_.positions);
    else
      walker_.train_step(update_, batch_.input, batch_.target, micro_batches, 0, batch_.positions);
  }

  /// Since the start.
  double compute_seconds(double cores) const {
    return one_core_for_all_ ? process_cpu_seconds() / cores
                             : walker_.compute_seconds() + store_->usage().update_seconds;
  }
  void synchronize() { store_->synchronize(); }

 private:
  std::unique_ptr<parallel::ParameterStore> make_store(const model::Model& model, comm::Communicator& communicator,
                                                       RankSetup setup, const plan::Plan& plan) const {
    setup.shard_weights = plan.shard_weights;
    parallel::StoreOptions options = store_options(setup);
    options.placement = placement_;
    return parallel::make_store(model, communicator, options);
  }

  plan::RankPlan mine_;
  parallel::Update update_;
  SpeedEmulator emulator_;
  std::shared_ptr<const parallel::Placement> placement_;  // with a layout
  std::unique_ptr<parallel::ParameterStore> store_;
  parallel::BlockWalker walker_;
  std::unique_ptr<parallel::Pipeline> pipeline_;  // with a layout
  model::SyntheticBatch batch_;
  bool one_core_for_all_;
};

}  // namespace

plan::MeasuredSteps run_calibration(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                                    const CalibrationPlan& plan, int steps, double cores) {
  CalibrationRun run(communicator, model, setup, plan);
  communicator.barrier();
  for (int i = 0; i < kUncountedSteps; ++i) run.step();
  std::vector<double> step_seconds, compute_seconds, transfer_seconds;
  double begun = now_seconds(), computed = run.compute_seconds(cores);
  double transferred = communicator.counters().cpu_seconds;
  for (int i = 0; i < steps; ++i) {
    run.step();
    const double now = now_seconds(), compute = run.compute_seconds(cores);
    step_seconds.push_back(now - std::exchange(begun, now));
    compute_seconds.push_back(compute - std::exchange(computed, compute));
    const double transfers = communicator.counters().cpu_seconds;
    transfer_seconds.push_back(transfers - std::exchange(transferred, transfers));
  }
  run.synchronize();
  const std::vector<double> medians = comm::all_gather_values(communicator, median(step_seconds));
  const std::vector<double> computing = comm::all_gather_values(communicator, median(compute_seconds));
  const std::vector<double> transfers = comm::all_gather_values(communicator, median(transfer_seconds));
  return {medians.front(), computing, std::reduce(transfers.begin(), transfers.end()) / communicator.size()};
}

}  // namespace lshdp::measure
