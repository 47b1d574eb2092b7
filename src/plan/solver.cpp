// The batch solver for a fixed total: a threshold search over monotone rank times.
#include "lshdp/plan/solver.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <queue>
#include <stdexcept>
#include <tuple>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "checked_json.h"
#include "frontier.h"
#include "lshdp/core/error.h"
#include "lshdp/core/text.h"
#include "lshdp/plan/link_shares.h"
#include "ranks.h"

namespace lshdp::plan {
namespace {

using Batches = std::vector<std::int64_t>;

/// The samples that all ranks together finish within `seconds`.
std::int64_t samples_within(Ranks& ranks, double seconds) {
  std::int64_t samples = 0;
  for (const Ranks::Class& alike : ranks.classes()) {
    samples += alike.ranks * ranks.capacity(alike.first_rank, seconds);
  }
  return samples;
}

/// The shortest time in which all ranks together can finish `total` samples, which must be possible.
double shortest_time(Ranks& ranks, std::int64_t total) {
  double low = ranks.largest_fixed();
  if (samples_within(ranks, low) >= total) return low;
  double step = std::numeric_limits<double>::infinity();
  for (const Ranks::Class& alike : ranks.classes()) {
    if (ranks.cost(alike.first_rank).largest() > 0) step = std::min(step, ranks.cost(alike.first_rank).time(1).seconds);
  }
  double high = low + step;
  for (; samples_within(ranks, high) < total; step *= 2) {
    low = high;
    high += step;
  }
  while (true) {  // until no number lies between the two
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) return high;
    (samples_within(ranks, middle) >= total ? high : low) = middle;
  }
}

/// The split of exactly `total` with the shortest time: what each rank can do in that time, less the surplus, which is
/// taken sample by sample from the rank that would finish last (of equals, the one with more samples, then the higher
/// rank).
Batches split(Ranks& ranks, std::int64_t total) {
  const double time = shortest_time(ranks, total);
  Batches batches;
  std::priority_queue<std::tuple<double, std::int64_t, std::size_t>> last;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    batches.push_back(ranks.capacity(rank, time));
    if (batches[rank] > 0) last.emplace(ranks.finish(rank, batches[rank]), batches[rank], rank);
  }
  std::int64_t surplus = std::accumulate(batches.begin(), batches.end(), std::int64_t{0}) - total;
  for (; surplus > 0; --surplus) {
    const std::size_t rank = std::get<2>(last.top());
    last.pop();
    const std::int64_t batch = --batches[rank];
    if (batch > 0) last.emplace(ranks.finish(rank, batch), batch, rank);
  }
  return batches;
}

/// True if every rank can take its batch.
bool fits(Ranks& ranks, const Batches& batches) {
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    if (batches[rank] > ranks.cost(rank).largest()) return false;
  }
  return true;
}

Prediction predict_step(Ranks& ranks, const Batches& batches) {
  Prediction predicted;
  double slowest = 0;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    slowest = std::max(slowest, ranks.finish(rank, batches[rank]));
    const double update = ranks.model().update_seconds[rank];
    predicted.compute_seconds.push_back(ranks.cost(rank).time(batches[rank]).seconds + update);
  }
  const auto total = static_cast<double>(std::accumulate(batches.begin(), batches.end(), std::int64_t{0}));
  const double compute = *std::max_element(predicted.compute_seconds.begin(), predicted.compute_seconds.end());
  predicted.step_seconds = ranks.model().step_seconds(slowest);
  predicted.samples_per_second = total / predicted.step_seconds;
  predicted.communication_seconds = ranks.model().wire_seconds;
  predicted.exposed_seconds = predicted.step_seconds - compute;
  return predicted;
}

/// The largest micro-batch of a rank; 0 where nothing was measured.
std::int64_t holds(const RankProfile& rank) { return rank.curve.empty() ? 0 : rank.max_batch; }

/// "rank 0 on a 2 x 64, rank 1 on b 2 x 4, and 12 more".
std::string limits_of(const Profile& profile, std::int64_t max_accumulation) {
  constexpr std::size_t kShown = 8;
  std::vector<std::string> parts;
  for (const RankProfile& rank : profile.ranks) {
    if (parts.size() == kShown) {
      parts.push_back(fmt::format("and {} more", profile.ranks.size() - kShown));
      break;
    }
    parts.push_back(fmt::format("rank {} on {} {} x {}", rank.rank, rank.host, max_accumulation, holds(rank)));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

/// Throws unless the ranks can take `total` in at most `max_accumulation` micro-batches each (0: any number).
void require_possible(const Profile& profile, std::int64_t total, std::int64_t max_accumulation) {
  if (max_accumulation == 0) return;
  std::int64_t at_once = 0;
  for (const RankProfile& rank : profile.ranks) at_once += holds(rank);
  if (max_accumulation >= total / at_once + (total % at_once != 0)) return;
  throw UsageError(
      fmt::format("--total {} cannot be met: with --max-accumulation {} the ranks hold at most {} samples a step ({}); "
                  "give --total {} or less, or --max-accumulation {} or more",
                  total, max_accumulation, max_accumulation * at_once, limits_of(profile, max_accumulation),
                  max_accumulation * at_once, total / at_once + (total % at_once != 0)));
}

void check(const Profile& profile, const SolverOptions& options) {
  if (std::none_of(profile.ranks.begin(), profile.ranks.end(), holds)) {
    throw UsageError(
        fmt::format("no rank can hold one sample of model {}; give the ranks more memory (--memory) or take a "
                    "smaller model",
                    profile.model));
  }
  if (options.total && (*options.total < 1 || *options.total > kLargestBatch)) {
    throw UsageError(fmt::format("--total must be from 1 to {}, not {}", kLargestBatch, *options.total));
  }
  if (options.max_accumulation < 0 || options.max_accumulation > kLargestBatch) {
    throw UsageError(
        fmt::format("--max-accumulation must be from 0 to {}, not {}", kLargestBatch, options.max_accumulation));
  }
  if (options.throughput_share <= 0 || options.throughput_share > 1)
    throw std::invalid_argument("solve: throughput_share must be in (0, 1]");
  if (options.total_bound != 0 && !(options.total_bound >= 1))
    throw UsageError(fmt::format("--total-bound must be 0 or at least 1, not {:g}", options.total_bound));
  if (options.total) require_possible(profile, *options.total, options.max_accumulation);
}

/// The total cut in proportion to `weights`: whole shares, the rest to the largest fractions (of equals, the lower
/// rank).
Batches shares(std::int64_t total, const std::vector<double>& weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  Batches batches;
  std::vector<double> fractions;
  for (const double weight : weights) {
    const double exact = static_cast<double>(total) * weight / sum;
    const double whole = std::floor(exact + 1e-9);
    batches.push_back(static_cast<std::int64_t>(whole));
    fractions.push_back(exact - whole);
  }
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return fractions[a] > fractions[b]; });
  std::int64_t rest = total - std::accumulate(batches.begin(), batches.end(), std::int64_t{0});
  for (std::size_t i = 0; rest > 0; i = (i + 1) % order.size(), --rest) ++batches[order[i]];
  return batches;
}

std::optional<Prediction> predict_if_fits(Ranks& ranks, const Batches& batches) {
  if (!fits(ranks, batches)) return std::nullopt;
  return predict_step(ranks, batches);
}

std::vector<double> speeds(Ranks& ranks) {
  std::vector<double> values;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    values.push_back(ranks.cost(rank).curve().best_samples_per_second());
  }
  return values;
}

/// What keeps the step from being shorter.
std::string binding(const Profile& profile, Ranks& ranks, const Batches& batches) {
  std::size_t slowest = 0;
  std::vector<double> seconds;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    seconds.push_back(ranks.finish(rank, batches[rank]));
    if (seconds[rank] > seconds[slowest]) slowest = rank;
  }
  if (ranks.model().wire_seconds > seconds[slowest]) return "network";
  const std::string name = fmt::format("rank {} ({})", slowest, profile.ranks[slowest].host);
  const SplitTime time = ranks.cost(slowest).time(batches[slowest]);
  if (time.network > time.seconds + ranks.fixed(slowest))
    return "network, for which the micro-batches of " + name + " leave less time";
  return fmt::format("{} of {}", batches[slowest] > 0 ? "compute" : "update and transfers", name);
}

Plan plan_of(const Profile& profile, const ShardWeights& shards, Ranks& ranks, const Batches& batches) {
  Plan plan;
  plan.model = profile.model;
  plan.strategy = profile.strategy;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    plan.ranks.push_back({static_cast<int>(rank), profile.ranks[rank].host, batches[rank],
                          in_training_order(ranks.cost(rank).micro_batches(batches[rank]))});
    plan.total += batches[rank];
  }
  plan.shard_weights = shards;
  plan.transfer = transfer_sizes(profile);
  plan.predicted = predict_step(ranks, batches);
  return plan;
}

/// Throws unless there is one sensible batch per rank.
void check_batches(const Profile& profile, const Batches& batches) {
  if (batches.size() != profile.ranks.size()) {
    throw_wrong_list_length(batches.size(), static_cast<int>(profile.ranks.size()), "batches");
  }
  const auto [least, most] = std::minmax_element(batches.begin(), batches.end());
  if (batches.empty() || *least < 0 || *most == 0 || *most > kLargestBatch) {
    throw UsageError(fmt::format("batches must be from 0 to {}, not all 0", kLargestBatch));
  }
}

Solution solve_with(const Profile& profile, const ShardWeights& shards, const SolverOptions& options) {
  const bool fixed = options.total.has_value();
  const std::int64_t limit = fixed || options.max_accumulation > 0 ? options.max_accumulation : 1;
  Ranks ranks(profile, shards, limit, fixed ? *options.total : kLargestBatch);
  Solution solution;
  std::int64_t total = fixed ? *options.total : 0;
  if (!fixed) {
    const Frontier frontier = sweep_totals(ranks, options);
    solution.frontier = frontier.points;
    solution.total_choice = frontier.choice;
    total = frontier.choice.total;
  }
  const Batches batches = split(ranks, total);
  solution.plan = plan_of(profile, shards, ranks, batches);
  solution.equal_split = predict_if_fits(ranks, shares(total, std::vector<double>(ranks.size(), 1.0)));
  solution.proportional_split = predict_if_fits(ranks, shares(total, speeds(ranks)));
  if (solution.equal_split) solution.plan.equal_split_step_seconds = solution.equal_split->step_seconds;
  solution.bound_by = binding(profile, ranks, batches);
  return solution;
}

}  // namespace

Solution solve(const Profile& profile, const SolverOptions& options) {
  check(profile, options);
  if (options.shards) return solve_with(profile, *options.shards, options);
  const ShardWeights unequal = shard_weights(profile);
  Solution solution = solve_with(profile, unequal, options);
  if (unequal.empty()) return solution;
  const bool once = !options.total && options.max_accumulation == 0;
  const SolverOptions same_total{.total = solution.plan.total, .max_accumulation = once ? 1 : options.max_accumulation};
  const Solution of_equal_shards = solve_with(profile, {}, same_total);
  solution.equal_shards = of_equal_shards.plan.predicted;
  solution.equal_split = of_equal_shards.equal_split;
  solution.plan.equal_split_step_seconds = of_equal_shards.plan.equal_split_step_seconds;
  if (worth_unequal_shards(solution.plan.predicted.step_seconds, solution.equal_shards->step_seconds)) return solution;
  return solve_with(profile, {}, options);
}

std::optional<Prediction> predict(const Profile& profile, const std::vector<std::int64_t>& batches,
                                  std::int64_t max_accumulation, const std::optional<ShardWeights>& shards) {
  check_batches(profile, batches);
  Ranks ranks(profile, shards ? *shards : shard_weights(profile), max_accumulation, kLargestBatch);
  return predict_if_fits(ranks, batches);
}

Plan plan_for(const Profile& profile, const std::vector<std::int64_t>& batches, std::int64_t max_accumulation,
              const std::optional<ShardWeights>& shards) {
  check_batches(profile, batches);
  const ShardWeights first = shards ? *shards : shard_weights(profile);
  Ranks ranks(profile, first, max_accumulation, kLargestBatch);
  if (!fits(ranks, batches)) throw UsageError("the batches do not fit the ranks of the profile");
  Plan plan = plan_of(profile, first, ranks, batches);
  if (first.empty() || shards) return plan;
  Plan equal = plan_for(profile, batches, max_accumulation, ShardWeights());
  return worth_unequal_shards(plan.predicted.step_seconds, equal.predicted.step_seconds) ? plan : equal;
}

}  // namespace lshdp::plan
