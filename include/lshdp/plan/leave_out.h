// Which ranks a run would be faster without.
#pragma once
#include <optional>
#include <string>

#include "lshdp/plan/plan.h"
#include "lshdp/plan/profile.h"
#include "lshdp/plan/solver.h"

namespace lshdp::plan {

/// The fastest of the runs without those ranks that bring least, each solved anew with `options`: without the ones that
/// got no samples in `plan` (the solution for `profile`), the ones whose links are slowest, the ones that compute
/// slowest. None unless that is 2 % faster; ranks without samples are told even where leaving them out gains nothing.
/// The assumptions are those of on_other_ranks; that a
/// rank of fsdp or lsdp must then hold a larger shard is not looked at.
std::optional<LeaveOut> best_left_out(const Profile& profile, const Plan& plan, const SolverOptions& options);

/// A sentence for people: who of plan.leave_out, which must be there, why, and what that gains.
std::string describe_leave_out(const Plan& plan);

}  // namespace lshdp::plan
