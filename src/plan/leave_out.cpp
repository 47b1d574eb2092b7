// Runs without the ranks that bring least, solved and compared.
#include "lshdp/plan/leave_out.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"
#include "lshdp/plan/link_shares.h"
#include "lshdp/plan/other_ranks.h"
#include "time_curve.h"

namespace lshdp::plan {
namespace {

constexpr double kWorth = 1.02;        // samples per second without the ranks over those with them
constexpr double kNoGain = 0.001;      // nearer to 1: the same
constexpr std::size_t kMaxBounds = 8;  // of one figure
constexpr std::size_t kMaxNamed = 16;

using RankSet = std::set<std::int64_t>;

/// The ranks below each of some bounds on `figures` (one for each rank), never all of them.
std::vector<RankSet> lowest(const std::vector<double>& figures) {
  const std::set<double> values(figures.begin(), figures.end());
  std::vector<double> bounds(values.begin(), values.end());
  if (!bounds.empty()) bounds.erase(bounds.begin());
  const std::size_t count = std::min(bounds.size(), kMaxBounds);
  std::vector<RankSet> sets;
  for (std::size_t i = 0; i < count; ++i) {
    const double bound = bounds[i * bounds.size() / count];
    RankSet below;
    for (std::size_t rank = 0; rank < figures.size(); ++rank) {
      if (figures[rank] < bound) below.insert(static_cast<std::int64_t>(rank));
    }
    sets.push_back(std::move(below));
  }
  return sets;
}

RankSet idle_ranks(const Plan& plan) {
  RankSet idle;
  for (const RankPlan& rank : plan.ranks) {
    if (rank.batch == 0) idle.insert(rank.rank);
  }
  return idle;
}

std::vector<double> speeds(const Profile& profile) {
  std::vector<double> values;
  for (const RankProfile& rank : profile.ranks) {
    values.push_back(rank.curve.empty() ? 0 : TimeCurve(rank).best_samples_per_second());
  }
  return values;
}

/// The run without these ranks; none where the others cannot hold it.
std::optional<LeaveOut> without(const Profile& profile, const RankSet& left_out, const SolverOptions& options) {
  std::vector<std::size_t> others;
  for (std::size_t rank = 0; rank < profile.ranks.size(); ++rank) {
    if (!left_out.contains(static_cast<std::int64_t>(rank))) others.push_back(rank);
  }
  try {
    const Prediction predicted = solve(on_other_ranks(profile, others), options).plan.predicted;
    return LeaveOut{{left_out.begin(), left_out.end()}, predicted.step_seconds, predicted.samples_per_second};
  } catch (const UsageError&) {
    return std::nullopt;
  }
}

/// "Ranks 1, 2 (b, c)".
std::string names(const std::vector<std::int64_t>& ranks, const Plan& plan) {
  std::vector<std::string> numbers, hosts;
  for (std::size_t i = 0; i < std::min(ranks.size(), kMaxNamed); ++i) {
    numbers.push_back(std::to_string(ranks[i]));
    hosts.push_back(plan.ranks.at(static_cast<std::size_t>(ranks[i])).host);
  }
  const char* more = ranks.size() > kMaxNamed ? ", .." : "";
  return fmt::format("Rank{} {}{} ({}{})", ranks.size() == 1 ? "" : "s", fmt::join(numbers, ", "), more,
                     fmt::join(hosts, ", "), more);
}

}  // namespace

std::optional<LeaveOut> best_left_out(const Profile& profile, const Plan& plan, const SolverOptions& options) {
  const RankSet idle = idle_ranks(plan);
  std::vector<RankSet> candidates = lowest(relative_links(link_rates(profile)));
  for (RankSet& slow : lowest(speeds(profile))) candidates.push_back(std::move(slow));

  std::optional<LeaveOut> best = idle.empty() ? std::nullopt : without(profile, idle, options);
  // Where totals are free, the rule by which they are chosen makes rates differ, too.
  const double worth = options.total ? kWorth : kWorth / options.throughput_share;
  double to_beat = worth * plan.predicted.samples_per_second;
  if (best) to_beat = std::max(to_beat, best->samples_per_second);
  for (const RankSet& candidate : candidates) {
    const std::optional<LeaveOut> run = without(profile, candidate, options);
    if (!run || run->samples_per_second <= to_beat) continue;
    best = run;
    to_beat = run->samples_per_second;
  }
  return best;
}

std::string describe_leave_out(const Plan& plan) {
  const LeaveOut& leave_out = plan.leave_out.value();
  const RankSet idle = idle_ranks(plan);
  const bool one = leave_out.ranks.size() == 1;
  const bool all_idle = std::ranges::all_of(leave_out.ranks, [&](std::int64_t rank) { return idle.contains(rank); });
  const char* why = all_idle ? (one ? "gets no samples" : "get no samples")
                             : (one ? "takes longer than it saves" : "take longer than they save");
  const double gain = leave_out.samples_per_second / plan.predicted.samples_per_second;
  return fmt::format("{} {}: left out of the run altogether, {} would make the step {}{}, {}.",
                     names(leave_out.ranks, plan), why, one ? "it" : "they", format_seconds(leave_out.step_seconds),
                     traits_of(plan.strategy.value_or(Strategy{}).mode).replicates
                         ? ""
                         : " (if the others' memory takes the larger shards)",
                     std::abs(gain - 1) < kNoGain ? "which is no gain" : fmt::format("{:.2f} times as fast", gain));
}

}  // namespace lshdp::plan
