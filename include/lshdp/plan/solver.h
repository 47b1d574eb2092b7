// The batch solver: splits a step over unequal ranks so that the slowest part of it is as short as possible.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lshdp/plan/plan.h"
#include "lshdp/plan/profile.h"

namespace lshdp::plan {

struct SolverOptions {
  std::optional<std::int64_t> total;  // samples a step; none: the total with the most samples per second
  std::int64_t max_accumulation =
      0;  // micro-batches a rank may run in a step; 0: as many as a fixed total needs, 1 without
  /// Shards of the sizes that the links ask for (link_shares.h) only where they make the step shorter; false: always.
  bool compare_equal_shards = true;
};

/// One total of the frontier: what the best split for it is predicted to reach.
struct FrontierPoint {
  std::int64_t total = 0;
  double step_seconds = 0;
  double samples_per_second = 0;
};

struct Solution {
  Plan plan;
  std::vector<FrontierPoint> frontier;           // by total, rising
  std::optional<Prediction> equal_split;         // with equal shards where solve() compares; none: it does not fit
  std::optional<Prediction> proportional_split;  // batches in proportion to each rank's best samples per second
  std::optional<Prediction> equal_shards;        // of the best split with equal shards; none: the plan's are equal
  std::string bound_by;                          // for people: "compute of rank 3", "network"
};

/// The best plan for `profile`. Exact under the step model of DESIGN.md section 6 (see CONTRIBUTING.md, "The solver").
/// Throws UsageError if no rank can hold one sample, or the total cannot be met: it names the ranks whose limit binds
/// and the largest total that is possible.
Solution solve(const Profile& profile, const SolverOptions& options);

/// What the step model says of given batches (one per rank, micro-batches chosen by the dynamic program, shards as the
/// links ask for); none if they do not fit.
std::optional<Prediction> predict(const Profile& profile, const std::vector<std::int64_t>& batches,
                                  std::int64_t max_accumulation);

/// The plan of given batches (one per rank), micro-batches and, with compare_equal_shards, shards chosen as by solve();
/// without it shards are as the links ask for. Throws UsageError if they do not fit.
Plan plan_for(const Profile& profile, const std::vector<std::int64_t>& batches, std::int64_t max_accumulation,
              bool compare_equal_shards = false);

}  // namespace lshdp::plan
