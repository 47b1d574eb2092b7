// Rebalancing of a pipeline: rank 0 decides now and then where it is cut, and all ranks follow after the same step.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/plan/layout.h"
#include "lshdp/plan/profile.h"
#include "lshdp/plan/stage_rebalance.h"
#include "lshdp/train/metrics.h"
#include "root_message.h"

namespace lshdp::train {

/// Other cuts from the next step on.
struct StageChange {
  plan::Layout layout;     // with what is predicted, on rank 0
  RebalanceRecord record;  // without what the move took
};

/// `to` in place of `from` from step `step` on.
StageChange stage_change(const plan::Layout& from, const plan::Layout& to, std::size_t ranks, std::int64_t step);

/// All ranks make the same calls in the same order. As Rebalancing, a decision goes round behind the step that follows.
class StageRebalancing {
 public:
  /// Decides after every `every` steps of a run with `layout`, which is one pipeline. Throws UsageError as
  /// plan::StageRebalancer does.
  StageRebalancing(comm::Communicator& communicator, const plan::Layout& layout, const plan::Profile& profile,
                   std::int64_t every, const plan::StageRebalanceOptions& options);

  /// A finished step of a whole batch.
  void observe(const StepRecord& step);
  /// Step `step` is computed. What changes with the next one, if anything does.
  std::optional<StageChange> end_step(std::int64_t step);

 private:
  void send();
  std::optional<plan::Recut> receive();

  comm::Communicator& communicator_;
  std::int64_t every_;
  plan::StageRebalancer rebalancer_;
  std::vector<double> slowness_;  // that the cuts were chosen for
  std::optional<plan::Layout>
      predicted_;  // rank 0: what it has decided, with all that is predicted, until it is applied
  RootMessage message_;
};

}  // namespace lshdp::train
