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
  std::optional<std::int64_t> total = {};  // samples a step; none: see throughput_share
  std::int64_t max_accumulation =
      0;  // micro-batches a rank may run in a step; 0: as many as a fixed total needs, 1 without
  /// Shards that stay as they are; none: as the links ask for (link_shares.h), where these make the step shorter.
  std::optional<ShardWeights> shards = {};
  /// Without `total`: the smallest total that reaches this share of the most samples per second, of totals no larger
  /// than so many times what equal batches would take by the same rule (0: of all). Larger totals change training for
  /// little.
  double throughput_share = 0.95;
  double total_bound = 4;
  std::int64_t largest_total = 0;  // and none above this: what the data hold; 0: any
};

/// How a total was chosen that nobody gave.
struct TotalChoice {
  std::int64_t total = 0;
  double samples_per_second = 0;
  std::int64_t best_total = 0;  // with the most samples per second of those up to `limit`
  double best_samples_per_second = 0;
  std::int64_t equal_total = 0;  // that equal batches would take
  std::int64_t limit = 0;        // the least of total_bound x equal_total, largest_total and what the ranks hold
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
  std::optional<TotalChoice> total_choice;       // none: the total was given
  std::optional<Prediction> equal_split;         // with equal shards where solve() compares; none: it does not fit
  std::optional<Prediction> proportional_split;  // batches in proportion to each rank's best samples per second
  std::optional<Prediction> equal_shards;        // of the best split with equal shards; none: the plan's are equal
  std::string bound_by;                          // for people: "compute of rank 3", "network"
};

/// The best plan for `profile`. Exact under the step model (docs/solver.md). Throws UsageError if no rank can hold one
/// sample, or the total cannot be met: it names the ranks whose limit binds and the largest total that is possible.
Solution solve(const Profile& profile, const SolverOptions& options);

/// What the step model says of given batches (one per rank, micro-batches chosen by the dynamic program); none if they
/// do not fit. `shards`: none: as the links ask for.
std::optional<Prediction> predict(const Profile& profile, const std::vector<std::int64_t>& batches,
                                  std::int64_t max_accumulation, const std::optional<ShardWeights>& shards = {});

/// The plan of given batches (one per rank), with micro-batches and, where none are given, shards chosen as by solve().
/// Throws UsageError if they do not fit.
Plan plan_for(const Profile& profile, const std::vector<std::int64_t>& batches, std::int64_t max_accumulation,
              const std::optional<ShardWeights>& shards = {});

}  // namespace lshdp::plan
