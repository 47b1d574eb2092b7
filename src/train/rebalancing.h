// Rebalancing of a run: rank 0 decides now and then, and all ranks follow at the same step without waiting for it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/plan/rebalance.h"
#include "lshdp/train/metrics.h"
#include "root_message.h"

namespace lshdp::train {

/// All ranks make the same calls in the same order. Rank 0's decision goes round behind the step that follows and holds
/// from the one after: ranks of different processors might round differently, so that not each may decide for itself.
class Rebalancing {
 public:
  /// Decides after every `every` steps (0: never) of a run with `plan`; `profile` as plan::Rebalancer takes it.
  Rebalancing(comm::Communicator& communicator, plan::Plan plan, std::optional<plan::Profile> profile,
              std::int64_t every, const plan::RebalanceOptions& options);

  /// The plan of the steps to come.
  const plan::Plan& plan() const { return rebalancer_.plan(); }
  /// The batches of `step` (counted from 1), by rank; of the last two splits.
  const std::vector<std::int64_t>& batches_at(std::int64_t step) const;
  /// A finished step of a whole global batch.
  void observe(const StepRecord& step);
  /// Step `step` is computed. What changes with the next one, if anything does: plan() and batches_at() know it.
  std::optional<RebalanceRecord> end_step(std::int64_t step);

 private:
  void send();
  std::optional<plan::Rebalance> receive();

  comm::Communicator& communicator_;
  std::int64_t every_;
  bool profiled_;
  plan::Rebalancer rebalancer_;
  std::vector<std::int64_t> batches_, batches_before_;
  std::vector<double> slowness_;  // that batches_ were solved for
  std::int64_t changed_at_ = 0;   // the first step with batches_
  RootMessage message_;
};

/// "rebalanced from step 23 on: rank 0 computes 2.01 times as long as profiled (before 1.00); batches 16,16 -> 11,21;
/// step 210 ms -> 150 ms expected (29 % less)". At most eight ranks are named, and 16 batches. Of a pipeline, where its
/// stages end stands in place of batches, and what was moved.
std::string describe(const RebalanceRecord& record);

}  // namespace lshdp::train
