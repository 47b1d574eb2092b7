// The solver against brute force: every split and every cut into micro-batches of small random profiles.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/plan/solver.h"
#include "plan/profiles.h"

namespace lshdp::plan {
namespace {

constexpr std::int64_t kLargest = 1'000'000'000;
constexpr double kInfinite = std::numeric_limits<double>::infinity();
/// The solver charges a billionth per micro-batch to break ties.
constexpr double kTolerance = 2e-9;

using Random = std::mt19937_64;

std::int64_t whole(Random& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}
double real(Random& random, double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(random);
}

/// Points at 1 and at some other batches, times that may fall, rise and jump.
RankProfile random_rank(Random& random) {
  const std::int64_t max_batch = whole(random, 0, 6);
  std::vector<CurvePoint> curve;
  for (std::int64_t batch = 1; batch <= max_batch; ++batch) {
    if (batch > 1 && whole(random, 0, 1) == 0) continue;
    const double seconds = whole(random, 0, 3) == 0 ? static_cast<double>(whole(random, 1, 3)) : real(random, 0.1, 3);
    curve.push_back({batch, seconds});
  }
  RankProfile rank = test::make_rank(max_batch, std::move(curve));
  rank.update_seconds = whole(random, 0, 1) * real(random, 0, 0.5);
  rank.cores = real(random, 0.2, 1);
  rank.device = whole(random, 0, 3) == 0 ? "cuda:0" : "cpu";
  return rank;
}

Profile random_profile(Random& random) {
  std::vector<RankProfile> ranks;
  for (std::int64_t rank = whole(random, 2, 4); rank > 0; --rank) ranks.push_back(random_rank(random));
  Profile profile = test::make_profile(std::move(ranks));
  if (whole(random, 0, 1) == 0) return profile;
  if (whole(random, 0, 3) == 0) profile.strategy.mode = Mode::fsdp;
  profile = test::with_network(std::move(profile), 1000, 1000);
  profile.exposed_bytes = whole(random, 0, 200);
  profile.network.cpu_seconds_per_byte = real(random, 0, 1e-4);
  if (whole(random, 0, 1) == 0) profile.network.curve = {{10, 0.3}, {500, 0.8}, {5000, real(random, 1, 9)}};
  return profile;
}

/// t(b) as the solver's header defines it, written down once more.
double micro_batch_seconds(const RankProfile& rank, std::int64_t batch) {
  std::vector<CurvePoint> points = rank.curve;
  for (std::size_t i = 1; i < points.size(); ++i)
    points[i].seconds = std::max(points[i].seconds, points[i - 1].seconds);
  if (points.size() == 1) return points[0].seconds * static_cast<double>(batch);
  std::size_t i = 0;
  while (i + 2 < points.size() && points[i + 1].batch < batch) ++i;
  double slope =
      (points[i + 1].seconds - points[i].seconds) / static_cast<double>(points[i + 1].batch - points[i].batch);
  if (batch > points.back().batch) {
    const double per_sample = points.back().seconds / static_cast<double>(points.back().batch);
    const double chord = (points.back().seconds - points.front().seconds) /
                         static_cast<double>(points.back().batch - points.front().batch);
    slope = std::min(std::max({slope, chord / 2, per_sample / 100}), per_sample);
    return points.back().seconds + slope * static_cast<double>(batch - points.back().batch);
  }
  return points[i].seconds + slope * static_cast<double>(batch - points[i].batch);
}

using Sizes = std::vector<std::int64_t>;

/// Calls `visit` with every cut of `batch` into at most `limit` micro-batches of at most `largest`, largest first.
template <typename Visit>
void for_all_cuts(std::int64_t batch, std::int64_t limit, std::int64_t largest, Sizes& sizes, const Visit& visit) {
  if (batch == 0) return visit(sizes);
  if (limit == 0) return;
  for (std::int64_t size = 1; size <= std::min(batch, largest); ++size) {
    sizes.push_back(size);
    for_all_cuts(batch - size, limit - 1, size, sizes, visit);
    sizes.pop_back();
  }
}

double sum_seconds(const RankProfile& rank, const Sizes& sizes) {
  double seconds = 0;
  for (const std::int64_t size : sizes) seconds += micro_batch_seconds(rank, size);
  return seconds;
}

/// The quickest cuts; of those equally quick the ones with fewest micro-batches.
std::vector<Sizes> quickest_cuts(const RankProfile& rank, std::int64_t batch, std::int64_t limit) {
  double best = kInfinite;
  std::size_t fewest = 0;
  std::vector<Sizes> found;
  Sizes sizes;
  for_all_cuts(batch, limit, rank.max_batch, sizes, [&](const Sizes& cut) {
    const double seconds = sum_seconds(rank, cut);
    const bool as_quick = std::abs(seconds - best) <= 1e-12 * best;
    if (!found.empty() && (as_quick ? cut.size() > fewest : seconds > best)) return;
    if (!as_quick || cut.size() < fewest) found.clear();
    best = std::min(best, seconds);
    fewest = cut.size();
    found.push_back(cut);
  });
  return found;
}

double all_reduce(const Profile& profile, std::int64_t bytes) {
  const auto ranks = static_cast<double>(profile.ranks.size());
  if (profile.network.bytes_per_second == 0 || bytes == 0) return 0;
  const auto& curve = profile.network.curve;
  if (curve.empty()) return 2 * (ranks - 1) / ranks * static_cast<double>(bytes) / profile.network.bytes_per_second;
  if (bytes <= curve.front().bytes) return curve.front().seconds;
  std::size_t i = 0;
  while (curve[i + 1].bytes < bytes) ++i;
  const double way =
      static_cast<double>(bytes - curve[i].bytes) / static_cast<double>(curve[i + 1].bytes - curve[i].bytes);
  return curve[i].seconds + way * (curve[i + 1].seconds - curve[i].seconds);
}

/// As the solver's header defines it.
struct Time {
  double seconds = 0, network = 0;
};
using Times = std::vector<std::vector<Time>>;  // by rank and batch

/// When the transfers of a step are done that this cut holds up.
double network_seconds(const Profile& profile, const RankProfile& rank, const Sizes& sizes, double seconds) {
  const double wire = all_reduce(profile, profile.gradient_bytes);
  if (sizes.size() < 2) return 0;
  if (profile.strategy.mode == Mode::fsdp) return static_cast<double>(sizes.size()) * wire;
  return seconds - micro_batch_seconds(rank, sizes[1]) / 3 - 2 * micro_batch_seconds(rank, sizes.front()) / 3 + wire;
}

/// The step of a split.
double step_seconds(const Profile& profile, const Times& times, const std::vector<std::int64_t>& batches) {
  const auto ranks = static_cast<double>(profile.ranks.size());
  double slowest = all_reduce(profile, profile.gradient_bytes);
  for (std::size_t rank = 0; rank < batches.size(); ++rank) {
    const RankProfile& own = profile.ranks[rank];
    const Time& time = times[rank][static_cast<std::size_t>(batches[rank])];
    double seconds = time.seconds + own.update_seconds;
    const double moved =
        2 * (ranks - 1) / ranks * static_cast<double>(profile.gradient_bytes + profile.parameter_bytes);
    if (own.device == "cpu") seconds += profile.network.cpu_seconds_per_byte * moved / own.cores;
    slowest = std::max({slowest, seconds, time.network});
  }
  return slowest + all_reduce(profile, profile.exposed_bytes);
}

/// The shortest step over all splits of `total`; infinite if there is none.
double best_step(const Profile& profile, const Times& times, std::int64_t total,
                 std::vector<std::int64_t> batches = {}) {
  if (batches.size() == profile.ranks.size()) return total == 0 ? step_seconds(profile, times, batches) : kInfinite;
  double best = kInfinite;
  for (std::int64_t batch = 0; batch <= total; ++batch) {
    std::vector<std::int64_t> more = batches;
    more.push_back(batch);
    best = std::min(best, best_step(profile, times, total - batch, more));
  }
  return best;
}

enum class OfEqualCuts { luckiest, unluckiest };

/// The time of `batch` samples. Of cuts that are equally quick, the one that suits the network best or least.
Time split_time(const Profile& profile, const RankProfile& rank, std::int64_t batch, std::int64_t limit,
                OfEqualCuts which) {
  const std::vector<Sizes> cuts = quickest_cuts(rank, batch, limit);
  if (cuts.empty()) return {kInfinite, kInfinite};
  // A cut that is not needed must save a tenth, the network's part included.
  const bool needless = batch <= rank.max_batch;
  const double seconds = (needless ? 1.1 : 1) * sum_seconds(rank, cuts.front());
  double network = network_seconds(profile, rank, cuts.front(), seconds);
  for (const Sizes& cut : cuts) {
    const double other = network_seconds(profile, rank, cut, seconds);
    network = which == OfEqualCuts::luckiest ? std::min(network, other) : std::max(network, other);
  }
  const double wire = all_reduce(profile, profile.gradient_bytes);
  const double whole = needless ? micro_batch_seconds(rank, batch) : kInfinite;
  if (std::max(whole, wire) <= std::max({seconds, network, wire})) return {whole, 0};
  return {seconds, network};
}

Times all_times(const Profile& profile, std::int64_t limit, std::int64_t total,
                OfEqualCuts which = OfEqualCuts::luckiest) {
  Times times(profile.ranks.size());
  for (std::size_t rank = 0; rank < times.size(); ++rank) {
    times[rank].push_back({});
    for (std::int64_t batch = 1; batch <= total; ++batch) {
      const Time time = split_time(profile, profile.ranks[rank], batch, limit, which), before = times[rank].back();
      times[rank].push_back({std::max(time.seconds, before.seconds), std::max(time.network, before.network)});
    }
  }
  return times;
}

void expect_runs_as_told(const Profile& profile, const Plan& plan, std::int64_t limit) {
  std::int64_t total = 0;
  for (const RankPlan& rank : plan.ranks) {
    const auto& sizes = rank.micro_batches;
    EXPECT_EQ(std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0}), rank.batch);
    EXPECT_LE(static_cast<std::int64_t>(sizes.size()), limit);
    EXPECT_EQ(sizes, in_training_order(sizes));
    for (const std::int64_t size : sizes) {
      EXPECT_GE(size, 1);
      EXPECT_LE(size, profile.ranks[static_cast<std::size_t>(rank.rank)].max_batch);
    }
    total += rank.batch;
  }
  EXPECT_EQ(plan.total, total);
}

TEST(SolverAgainstBruteForce, FindsTheShortestStepOfEveryFixedTotal) {
  Random random(20240817);
  int solved = 0, refused = 0, ambiguous = 0;
  for (int round = 0; round < 400; ++round) {
    SCOPED_TRACE(round);
    const Profile profile = random_profile(random);
    const std::int64_t limit = whole(random, 1, 3);
    const std::int64_t total = whole(random, 1, 12);
    const double best = best_step(profile, all_times(profile, limit, total), total);
    if (best == kInfinite) {
      EXPECT_THROW(solve(profile, {total, limit}), UsageError);
      ++refused;
      continue;
    }
    const Solution solution = solve(profile, {total, limit});
    EXPECT_EQ(solution.plan.total, total);
    const double worst = best_step(profile, all_times(profile, limit, total, OfEqualCuts::unluckiest), total);
    EXPECT_GE(solution.plan.predicted.step_seconds, best * (1 - kTolerance));
    EXPECT_LE(solution.plan.predicted.step_seconds, worst * (1 + kTolerance));
    ambiguous += worst > best * (1 + kTolerance);
    expect_runs_as_told(profile, solution.plan, limit);
    ++solved;
  }
  EXPECT_GT(solved, 200);
  EXPECT_GT(refused, 20);
  EXPECT_LT(ambiguous, 20);
}

TEST(SolverAgainstBruteForce, FindsTheShortestStepWithoutALimitOfMicroBatches) {
  Random random(7);
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    const Profile profile = random_profile(random);
    const std::int64_t total = whole(random, 1, 12);
    const double best = best_step(profile, all_times(profile, total, total), total);
    if (best == kInfinite) continue;
    const double worst = best_step(profile, all_times(profile, total, total, OfEqualCuts::unluckiest), total);
    const Solution solution = solve(profile, {total, 0});
    EXPECT_GE(solution.plan.predicted.step_seconds, best * (1 - kTolerance));
    EXPECT_LE(solution.plan.predicted.step_seconds, worst * (1 + kTolerance));
    expect_runs_as_told(profile, solution.plan, total);
  }
}

/// The smallest total with `share` of the most samples per second, of those up to `limit`. `steps`: by total.
std::int64_t smallest_with(const std::vector<double>& steps, std::int64_t limit, double share) {
  const auto rate = [&](std::int64_t total) {
    return static_cast<double>(total) / steps[static_cast<std::size_t>(total)];
  };
  double best = 0;
  for (std::int64_t total = 1; total <= limit; ++total) best = std::max(best, rate(total));
  std::int64_t total = 1;
  while (rate(total) < share * best) ++total;
  return total;
}

/// The rule of SolverOptions, by trying all totals and all equal batches.
void expect_chosen_by_the_rule(const Profile& profile, std::int64_t limit, const Times& times,
                               const std::vector<double>& step_of_total) {
  std::int64_t takers = 0, most = kLargest;
  for (const RankProfile& rank : profile.ranks) {
    if (rank.max_batch == 0) continue;
    ++takers;
    most = std::min(most, limit * rank.max_batch);
  }
  double best = 0;
  std::vector<double> rates{0};
  for (std::int64_t batch = 1; batch <= most; ++batch) {
    std::vector<std::int64_t> batches;
    for (const RankProfile& rank : profile.ranks) batches.push_back(rank.max_batch > 0 ? batch : 0);
    rates.push_back(static_cast<double>(batch * takers) / step_seconds(profile, times, batches));
    best = std::max(best, rates.back());
  }
  std::int64_t equal = 1;
  while (rates[static_cast<std::size_t>(equal)] < 0.9 * best) ++equal;
  const auto largest = static_cast<std::int64_t>(step_of_total.size()) - 1;
  const std::int64_t bound = std::min(largest, 2 * equal * takers);
  const Solution solution = solve(profile, {.max_accumulation = limit, .throughput_share = 0.9, .total_bound = 2});
  const TotalChoice choice = solution.total_choice.value();
  EXPECT_EQ(choice.equal_total, equal * takers);
  EXPECT_EQ(choice.limit, bound);
  EXPECT_EQ(solution.plan.total, choice.total);
  EXPECT_LE(choice.total, bound);
  EXPECT_GE(choice.total, smallest_with(step_of_total, bound, 0.9 - 1e-7));
  EXPECT_LE(choice.total, smallest_with(step_of_total, bound, 0.9 + 1e-7));
}

TEST(SolverAgainstBruteForce, FindsTheTotalWithMostSamplesPerSecond) {
  Random random(99);
  for (int round = 0; round < 150; ++round) {
    SCOPED_TRACE(round);
    Profile profile = random_profile(random);
    profile.ranks.resize(std::min<std::size_t>(profile.ranks.size(), 3));
    const std::int64_t limit = whole(random, 1, 2);
    std::int64_t largest = 0;
    for (const RankProfile& rank : profile.ranks) largest += limit * rank.max_batch;
    if (largest == 0) continue;
    const Times times = all_times(profile, limit, largest);
    double best = 0;
    std::vector<double> step_of_total{0};
    for (std::int64_t total = 1; total <= largest; ++total) {
      step_of_total.push_back(best_step(profile, times, total));
      best = std::max(best, static_cast<double>(total) / step_of_total.back());
    }
    const Solution solution = solve(profile, {.max_accumulation = limit, .throughput_share = 1, .total_bound = 0});
    EXPECT_NEAR(solution.plan.predicted.samples_per_second, best, best * kTolerance);
    expect_chosen_by_the_rule(profile, limit, times, step_of_total);
    for (const FrontierPoint& point : solution.frontier) {
      const double step = step_of_total[static_cast<std::size_t>(point.total)];
      EXPECT_NEAR(point.step_seconds, step, step * kTolerance);
    }
    EXPECT_EQ(solution.frontier.back().total, largest);
    expect_runs_as_told(profile, solution.plan, limit);
  }
}

TEST(SolverAgainstBruteForce, PredictsGivenBatches) {
  Random random(5);
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    const Profile profile = random_profile(random);
    const std::int64_t limit = whole(random, 1, 3);
    std::vector<std::int64_t> batches;
    for (std::size_t rank = 0; rank < profile.ranks.size(); ++rank) batches.push_back(whole(random, 0, 6));
    batches[0] = std::max<std::int64_t>(batches[0], 1);
    const double step = step_seconds(profile, all_times(profile, limit, 6), batches);
    const auto predicted = predict(profile, batches, limit);
    ASSERT_EQ(predicted.has_value(), step < kInfinite);
    if (predicted) {
      EXPECT_NEAR(predicted->step_seconds, step, step * kTolerance);
    }
  }
}

}  // namespace
}  // namespace lshdp::plan
