// A solution for people: tables that `lshdp optimize` prints.
#pragma once
#include <string>
#include <vector>

#include "lshdp/plan/other_ranks.h"
#include "lshdp/plan/solver.h"

namespace lshdp::plan {

/// The plan rank by rank, the step beside the equal and the proportional split, what binds, slow links
/// and what shards of unequal size gain there, what leaving out idle ranks would gain, and the frontier if there is
/// one. Several lines, each ended. At most 64 ranks and 12 totals are listed.
std::string describe(const Profile& profile, const Solution& solution);

/// The plan of the measured ranks and those of other numbers of ranks, with what the prediction assumes. Several lines.
/// Efficiency is samples per second and rank against the plan's.
std::string describe_scale(const Plan& plan, const std::vector<ScalePoint>& points);

/// "3 x 16 + 1 x 8" of {16, 16, 16, 8}; "-" of none.
std::string describe_micro_batches(const std::vector<std::int64_t>& micro_batches);

}  // namespace lshdp::plan
