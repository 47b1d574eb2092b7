// Solves larger and larger totals until the network is hidden.
#include "lshdp/plan/compute_bound.h"

#include <algorithm>

#include <fmt/format.h>

#include "checked_json.h"
#include "lshdp/core/error.h"
#include "lshdp/core/text.h"

namespace lshdp::plan {
namespace {

constexpr std::int64_t kFarthest = 1024;  // times the plan's total
constexpr std::int64_t kPrecision = 20;   // one in so many

bool computing_decides(const Prediction& predicted) {
  return predicted.exposed_seconds <= kNetworkShare * predicted.step_seconds;
}

/// None where the ranks cannot take it.
std::optional<Plan> plan_of_total(const Profile& profile, std::int64_t total, const SolverOptions& options) {
  try {
    return solve(profile, {.total = total, .max_accumulation = options.max_accumulation}).plan;
  } catch (const UsageError&) {
    return std::nullopt;
  }
}

}  // namespace

std::optional<ComputeBound> compute_bound_total(const Profile& profile, const Plan& plan,
                                                const SolverOptions& options) {
  if (plan.total < 1 || computing_decides(plan.predicted)) return std::nullopt;
  std::int64_t below = plan.total, above = 0;
  Plan found;
  while (above == 0) {
    const std::int64_t total = 2 * below;
    if (total > kFarthest * plan.total || total > kLargestBatch) return std::nullopt;
    std::optional<Plan> tried = plan_of_total(profile, total, options);
    if (!tried) return std::nullopt;
    if (!computing_decides(tried->predicted)) {
      below = total;
      continue;
    }
    above = total;
    found = *std::move(tried);
  }
  while (above - below > std::max<std::int64_t>(1, below / kPrecision)) {
    const std::int64_t middle = below + (above - below) / 2;
    std::optional<Plan> tried = plan_of_total(profile, middle, options);
    if (!tried || !computing_decides(tried->predicted)) {
      below = middle;
      continue;
    }
    above = middle;
    found = *std::move(tried);
  }
  const bool accumulates =
      std::ranges::any_of(found.ranks, [](const RankPlan& rank) { return rank.micro_batches.size() > 1; });
  return ComputeBound{above, found.predicted.step_seconds, found.predicted.samples_per_second, accumulates};
}

std::string describe(const ComputeBound& bound) {
  return fmt::format(
      "From a total of {} on, computing decides the step ({}, {:.4g} samples/s{}): the network would add less than "
      "{:.0f} %.",
      format_count(bound.total), format_seconds(bound.step_seconds), bound.samples_per_second,
      bound.accumulates ? ", with accumulation" : "", 100 * kNetworkShare);
}

}  // namespace lshdp::plan
