// A solution for people: tables that `lshdp optimize` prints.
#pragma once
#include <string>
#include <vector>

#include "lshdp/plan/other_ranks.h"
#include "lshdp/plan/solver.h"

namespace lshdp::plan {

/// The plan rank by rank, the step beside the equal and the proportional split, what binds, slow links
/// and what shards of unequal size gain there, what leaving out idle ranks would gain, how the total was chosen and the
/// frontier if none was given. Several lines, each ended. At most 64 ranks and 12 totals are listed.
std::string describe(const Profile& profile, const Solution& solution, const SolverOptions& options = {});

/// A sentence: how a total was chosen that nobody gave, and which option bounds it.
std::string describe_total(const TotalChoice& choice, const SolverOptions& options);

/// The largest micro-batch that memory allows and by what it is known: "47" measured, "~47" estimated, "47+" where no
/// larger one was tried.
std::string describe_max_batch(const RankProfile& rank);

/// A sentence for each thing about the plan that was not measured as it should have been: micro-batches beyond the end
/// of a rank's curve, and what measuring twice did not settle. Empty where all was.
std::vector<std::string> describe_doubts(const Profile& profile, const Plan& plan);

/// The plan of the measured ranks and those of other numbers of ranks, with what the prediction assumes. Several lines.
/// Efficiency is samples per second and rank against the plan's.
std::string describe_scale(const Plan& plan, const std::vector<ScalePoint>& points);

/// "3 x 16 + 1 x 8" of {16, 16, 16, 8}; "-" of none.
std::string describe_micro_batches(const std::vector<std::int64_t>& micro_batches);

}  // namespace lshdp::plan
