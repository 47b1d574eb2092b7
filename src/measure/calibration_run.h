// A few real steps of all ranks together, over the real network: what no part measured alone can tell.
#pragma once
#include <optional>

#include "lshdp/comm/communicator.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/model/model.h"
#include "lshdp/plan/layout.h"
#include "lshdp/plan/plan.h"
#include "lshdp/plan/under_load.h"

namespace lshdp::measure {

inline constexpr int kUncountedSteps = 2;  // memory is touched for the first time, and ranks come together

struct CalibrationPlan {
  plan::Plan plan;
  std::optional<plan::Layout> layout = {};  // with stages; then `plan` is its plan_of()
};

/// Trains `steps` steps (at least 1) of `plan` on made-up data, after kUncountedSteps that do not count, with the store
/// and the communicator that training uses; the model is thrown away. All ranks must call it with the same plan and
/// steps; `cores` is the rank's own: CPU time over wall time while it computes (RankProfile::cores). The result is the
/// same on every rank.
///
/// compute_seconds are those of computing and of the optimizer. Without stages, a rank that has one core or a part of
/// one for everything gives CPU-seconds / cores instead: its transfers included, and no less where it has waited, since
/// the share of a core that waiting saves lets it compute faster afterwards.
plan::MeasuredSteps run_calibration(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup,
                                    const CalibrationPlan& plan, int steps, double cores);

}  // namespace lshdp::measure
