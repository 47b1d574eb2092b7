// What the solver promises: exact totals, sensible splits, readable refusals, a frontier in order, and speed.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/error.h"
#include "lshdp/plan/solver.h"
#include "plan/profiles.h"

namespace lshdp::plan {
namespace {

using test::linear_rank;
using test::make_profile;
using test::make_rank;
using test::with_network;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using Random = std::mt19937_64;

std::vector<std::int64_t> batches_of(const Solution& solution) {
  std::vector<std::int64_t> batches;
  for (const RankPlan& rank : solution.plan.ranks) batches.push_back(rank.batch);
  return batches;
}

std::string refusal(const Profile& profile, const SolverOptions& options) {
  try {
    solve(profile, options);
    return "solved";
  } catch (const UsageError& error) {
    return error.what();
  }
}

/// A curve that saturates, with noise, measured at powers of two.
RankProfile measured_rank(Random& random, std::int64_t max_batch) {
  std::uniform_real_distribution<double> noise(0.95, 1.05), speed(0.5, 4);
  const double per_sample = 1e-3 / speed(random), overhead = 5e-3;
  std::vector<CurvePoint> curve;
  for (std::int64_t batch = 1; batch <= max_batch; batch *= 2) {
    curve.push_back({batch, (overhead + per_sample * static_cast<double>(batch)) * noise(random)});
  }
  return make_rank(max_batch, std::move(curve));
}

Profile cluster(std::size_t ranks, std::int64_t max_batch, std::uint64_t seed) {
  Random random(seed);
  std::vector<RankProfile> measured;
  for (std::size_t rank = 0; rank < ranks; ++rank) measured.push_back(measured_rank(random, max_batch));
  return make_profile(std::move(measured));
}

TEST(Solver, GivesEachRankWorkInProportionToItsSpeed) {
  const Profile profile = make_profile(
      {linear_rank(64, 0, 1e-3), linear_rank(64, 0, 1e-3), linear_rank(64, 0, 2e-3), linear_rank(64, 0, 4e-3)});
  const Solution solution = solve(profile, {88, 1});
  EXPECT_THAT(batches_of(solution), ElementsAre(32, 32, 16, 8));
  EXPECT_NEAR(solution.plan.predicted.step_seconds, 0.032, 1e-9);
  EXPECT_NEAR(solution.plan.predicted.samples_per_second, 2750, 1e-3);
  EXPECT_THAT(solution.bound_by, HasSubstr("compute of rank"));
  ASSERT_TRUE(solution.equal_split.has_value());
  EXPECT_NEAR(solution.equal_split->step_seconds, 0.088, 1e-9);
  EXPECT_NEAR(solution.plan.equal_split_step_seconds, 0.088, 1e-9);
  ASSERT_TRUE(solution.proportional_split.has_value());
  EXPECT_NEAR(solution.proportional_split->step_seconds, 0.032, 1e-9);
}

TEST(Solver, KeepsTheNamesOfTheProfile) {
  Profile profile = make_profile({linear_rank(8, 0, 1e-3), linear_rank(8, 0, 1e-3)});
  profile.model = "vit_b_16";
  profile.strategy.precision = Precision::bf16;
  profile.ranks[1].host = "slow";
  const Plan plan = solve(profile, {8, 0}).plan;
  EXPECT_EQ(plan.model, "vit_b_16");
  EXPECT_EQ(plan.strategy->mode, Mode::ddp);
  EXPECT_EQ(plan.strategy->precision, Precision::bf16);
  EXPECT_EQ(plan.ranks[1].host, "slow");
  EXPECT_EQ(to_json(plan_from_json(to_json(plan), "b.json")), to_json(plan));
}

TEST(Solver, GivesNothingToARankTooSlowForOneSample) {
  const Profile profile = make_profile({linear_rank(64, 0, 1e-3), linear_rank(64, 0, 1)});
  const Solution solution = solve(profile, {32, 1});
  EXPECT_THAT(batches_of(solution), ElementsAre(32, 0));
  EXPECT_TRUE(solution.plan.ranks[1].micro_batches.empty());
}

TEST(Solver, GivesNothingToARankThatHoldsNoSample) {
  const Profile profile = make_profile({linear_rank(64, 0, 1e-3), make_rank(0, {})});
  EXPECT_THAT(batches_of(solve(profile, {32, 1})), ElementsAre(32, 0));
  EXPECT_FALSE(solve(profile, {32, 1}).equal_split.has_value());
}

TEST(Solver, LetsAFastRankWithLittleMemoryRunMoreMicroBatches) {
  const Profile profile = make_profile({linear_rank(4, 1e-4, 1e-3), linear_rank(64, 1e-4, 4e-3)});
  EXPECT_THAT(batches_of(solve(profile, {40, 1})), ElementsAre(4, 36));
  const Solution accumulated = solve(profile, {40, 0});
  EXPECT_THAT(batches_of(accumulated), ElementsAre(32, 8));
  EXPECT_THAT(accumulated.plan.ranks[0].micro_batches, ElementsAre(4, 4, 4, 4, 4, 4, 4, 4));
}

TEST(Solver, PrefersFewMicroBatchesWhereTheyAreEquallyFast) {
  const Profile profile = make_profile({linear_rank(16, 0, 1e-3)});
  EXPECT_THAT(solve(profile, {40, 0}).plan.ranks[0].micro_batches, ElementsAre(16, 8, 16));
}

TEST(Solver, CutsNothingThatTheNetworkWouldWaitFor) {
  // Two of 4 save a half of the computing, but transfers of 6 s would wait for the first of them.
  const RankProfile rank = make_rank(8, {{1, 1}, {4, 1.5}, {8, 6}});
  const Profile profile = with_network(make_profile({rank, rank}), 1, 6);
  const Solution solution = solve(profile, {16, 0});
  EXPECT_THAT(solution.plan.ranks[0].micro_batches, ElementsAre(8));
  EXPECT_NEAR(solution.plan.predicted.step_seconds, 6, 1e-6);
  EXPECT_EQ(solve(make_profile({rank, rank}), {16, 0}).plan.ranks[0].micro_batches.size(), 2);
}

TEST(Solver, TransfersHideBehindTheLastBackwardAndTheFirstForwardOnly) {
  // Three micro-batches of 4 s each; the network needs 10 s: it works in 2/3 of the last and 1/3 of the first.
  const RankProfile rank = make_rank(4, {{1, 1}, {4, 4}});
  Profile profile = with_network(make_profile({rank, rank}), 1, 10);
  const Solution ddp = solve(profile, {24, 0});
  EXPECT_THAT(ddp.plan.ranks[0].micro_batches, ElementsAre(4, 4, 4));
  EXPECT_NEAR(ddp.plan.predicted.step_seconds, 12 - 4 + 10, 1e-6);
  EXPECT_THAT(ddp.bound_by, HasSubstr("network, for which the micro-batches of rank"));
  profile.strategy.mode = Mode::fsdp;  // everything is gathered and summed in each
  EXPECT_NEAR(solve(profile, {24, 0}).plan.predicted.step_seconds, 30, 1e-6);
}

TEST(Solver, PicksSmallMicroBatchesWhereLargeOnesAreSlow) {
  const Profile profile = make_profile({make_rank(8, {{1, 1}, {4, 1.5}, {8, 9}})});
  EXPECT_THAT(solve(profile, {8, 2}).plan.ranks[0].micro_batches, ElementsAre(4, 4));
  EXPECT_THAT(solve(profile, {8, 1}).plan.ranks[0].micro_batches, ElementsAre(8));
}

TEST(Solver, TakesTimesMeasuredTooLongForSmallBatchesAsTheyAre) {
  // The time at 4 fell below the time at 2: noise, and 4 costs no less than 2.
  const Profile profile = make_profile({make_rank(8, {{1, 1}, {2, 3}, {4, 2}, {8, 5}})});
  EXPECT_NEAR(predict(profile, {4}, 1)->step_seconds, 3, 1e-8);
  EXPECT_NEAR(predict(profile, {6}, 1)->step_seconds, 4, 1e-8);
}

TEST(Solver, ContinuesTheLastSlopeBeyondTheLastMeasuredPoint) {
  const Profile profile = make_profile({make_rank(20, {{1, 1.5}, {4, 3}, {8, 5}})});
  EXPECT_NEAR(predict(profile, {16}, 1)->step_seconds, 9, 1e-8);
  EXPECT_FALSE(predict(profile, {21}, 1).has_value());
  EXPECT_TRUE(predict(profile, {21}, 0).has_value());
}

TEST(Solver, BoundsTheSlopeBeyondTheLastMeasuredPoint) {
  // What noise made flat is not free, and what it made steep is not taken to go on: half of the slope from the first
  // point (1/7), and a sample's time in the last point (1/4).
  EXPECT_NEAR(predict(make_profile({make_rank(20, {{1, 1}, {4, 2}, {8, 2}})}), {16}, 1)->step_seconds, 2 + 8 * 0.5 / 7,
              1e-8);
  EXPECT_NEAR(predict(make_profile({make_rank(20, {{1, 0.3}, {7, 1}, {8, 2}})}), {16}, 1)->step_seconds, 4, 1e-8);
}

TEST(Solver, CutsNothingThatMemoryHoldsBecauseTimeEndedTheCurve) {
  // Timed up to 2 samples, memory holds 20: a batch of 5 stays whole.
  const Solution solution = solve(make_profile({make_rank(20, {{1, 0.5}, {2, 0.9}})}), {.total = 5});
  EXPECT_THAT(solution.plan.ranks[0].micro_batches, ElementsAre(5));
}

TEST(Solver, MeetsEveryTotalExactly) {
  Random random(3);
  for (int round = 0; round < 60; ++round) {
    const Profile profile = cluster(1 + random() % 40, 1 << (random() % 8), random());
    std::int64_t largest = 0;
    for (const RankProfile& rank : profile.ranks) largest += rank.max_batch;
    const auto total = static_cast<std::int64_t>(1 + random() % static_cast<std::uint64_t>(largest));
    for (const std::int64_t limit : {1, 2, 0}) {
      const Plan plan = solve(profile, {total, limit}).plan;
      EXPECT_EQ(plan.total, total);
      std::int64_t sum = 0;
      for (const RankPlan& rank : plan.ranks) sum += rank.batch;
      EXPECT_EQ(sum, total);
    }
  }
}

TEST(Solver, AgreesWithAPlainProgramOverAllSizesForOneRank) {
  Random random(11);
  for (int round = 0; round < 20; ++round) {
    const auto max_batch = static_cast<std::int64_t>(2 + random() % 40);
    std::vector<CurvePoint> curve{{1, 1}};
    for (std::int64_t batch = 2; batch <= max_batch; ++batch) {
      if (random() % 4 == 0)
        curve.push_back({batch, curve.back().seconds + static_cast<double>(random() % 1000) / 100});
    }
    const Profile profile = make_profile({make_rank(max_batch, curve)});
    const std::int64_t limit = 1 + static_cast<std::int64_t>(random() % 12);
    const std::int64_t range = limit * max_batch;
    std::vector<double> least(static_cast<std::size_t>(range) + 1, std::numeric_limits<double>::infinity());
    least[0] = 0;
    for (std::int64_t layer = 0; layer < limit; ++layer) {
      for (std::int64_t batch = range; batch >= 1; --batch) {
        for (std::int64_t size = 1; size <= std::min(batch, max_batch); ++size) {
          const double one = predict(profile, {size}, 1)->step_seconds;
          least[static_cast<std::size_t>(batch)] =
              std::min(least[static_cast<std::size_t>(batch)], least[static_cast<std::size_t>(batch - size)] + one);
        }
      }
    }
    for (std::int64_t batch = 1; batch <= range;
         ++batch) {  // a cut that is not needed must save a tenth; f never falls
      double& own = least[static_cast<std::size_t>(batch)];
      if (batch <= max_batch) own = std::min(predict(profile, {batch}, 1)->step_seconds, 1.1 * own);
      own = std::max(own, least[static_cast<std::size_t>(batch) - 1]);
    }
    for (std::int64_t batch = 1; batch <= range; batch += 7) {
      const double expected = least[static_cast<std::size_t>(batch)];
      EXPECT_NEAR(predict(profile, {batch}, limit)->step_seconds, expected, expected * 2e-9) << round << ' ' << batch;
    }
  }
}

TEST(Solver, AddsTheUpdateAndTheTransfersCpuTime) {
  Profile profile = with_network(make_profile({linear_rank(8, 0, 0.1), linear_rank(8, 0, 0.1)}), 1e6, 1000);
  profile.network.cpu_seconds_per_byte = 1e-5;
  profile.ranks[0].update_seconds = 0.3;
  profile.ranks[1].cores = 0.5;
  // Each rank sends and receives 2 x (1/2) x 2000 bytes: 0.02 s on a whole core, 0.04 s on half a core.
  const Prediction predicted = *predict(profile, {4, 4}, 1);
  EXPECT_THAT(predicted.compute_seconds, ElementsAre(testing::DoubleNear(0.7, 1e-9), testing::DoubleNear(0.4, 1e-9)));
  EXPECT_NEAR(predicted.step_seconds, 0.72, 1e-9);
  EXPECT_NEAR(predicted.exposed_seconds, 0.02, 1e-9);
  EXPECT_NEAR(predict(profile, {0, 8}, 1)->step_seconds, 0.84, 1e-9);
  profile.ranks[1].device = "cuda:0";
  EXPECT_NEAR(predict(profile, {0, 8}, 1)->step_seconds, 0.8, 1e-9);
}

TEST(Solver, StepIsAtLeastTheWireTime) {
  const Profile profile = with_network(make_profile({linear_rank(8, 0, 1e-3), linear_rank(8, 0, 1e-3)}), 1000, 4000);
  const Solution solution = solve(profile, {8, 1});
  // (N-1)/N x (gradients + parameters) / rate
  EXPECT_NEAR(solution.plan.predicted.communication_seconds, 4, 1e-9);
  EXPECT_NEAR(solution.plan.predicted.step_seconds, 4, 1e-9);
  EXPECT_NEAR(solution.plan.predicted.exposed_seconds, 4 - 0.004, 1e-9);
  EXPECT_EQ(solution.bound_by, "network");
}

TEST(Solver, TakesTheWireTimeFromTheMeasuredCurve) {
  Profile profile = with_network(make_profile({linear_rank(8, 0, 1e-3), linear_rank(8, 0, 1e-3)}), 1000, 4000);
  profile.network.curve = {{1000, 2}, {3000, 5}, {5000, 11}};
  profile.exposed_bytes = 500;
  const Prediction predicted = *predict(profile, {4, 4}, 1);
  EXPECT_NEAR(predicted.communication_seconds, 8, 1e-9);
  EXPECT_NEAR(predicted.step_seconds, 10, 1e-9);  // and the first block, as slow as the smallest measured size
  profile.gradient_bytes = profile.parameter_bytes = 6000;
  EXPECT_NEAR(predict(profile, {4, 4}, 1)->communication_seconds, 12, 1e-9);  // 1000 bytes more at the link's rate
}

TEST(Solver, OneRankHasNoNetwork) {
  Profile profile = with_network(make_profile({linear_rank(8, 0, 1e-3)}), 1000, 4000);
  profile.network.curve = {{1000, 2}, {3000, 5}};
  profile.exposed_bytes = 2000;
  profile.network.cpu_seconds_per_byte = 1;
  EXPECT_NEAR(solve(profile, {8, 1}).plan.predicted.step_seconds, 0.008, 1e-9);
}

TEST(Solver, WithoutATotalMakesUseOfTheWholeMemoryWhereTheNetworkBinds) {
  const Profile profile = with_network(make_profile({linear_rank(8, 0, 1e-3), linear_rank(4, 0, 2e-3)}), 1000, 4000);
  const Solution solution = solve(profile, {});
  EXPECT_EQ(solution.plan.total, 12);
  for (const RankPlan& rank : solution.plan.ranks) EXPECT_LE(rank.micro_batches.size(), 1U);
}

TEST(Solver, WithoutATotalLeavesOutARankThatOnlySlowsOthersDown) {
  const Profile profile = with_network(make_profile({linear_rank(64, 0.01, 1e-3), linear_rank(64, 10, 1)}), 1e9, 1000);
  EXPECT_THAT(batches_of(solve(profile, {.throughput_share = 1})), ElementsAre(64, 0));
}

TEST(Solver, WithoutATotalTakesTheSmallestWhoseThroughputIsWithinFivePercentOfTheBest) {
  // 10 ms + 1 ms a sample: b samples reach b / (10 + b) of 1000 a second. Of 1000 samples' 990.1, 95 % is 940.6: 159.
  const Profile profile = make_profile({linear_rank(1000, 0.01, 1e-3)});
  EXPECT_EQ(solve(profile, {.total_bound = 0}).plan.total, 159);
  // One rank's equal batches are its batches; of up to 4 x 159 samples the best reach 984.5, 95 % of it 935.3: 145.
  const Solution solution = solve(profile, {});
  EXPECT_EQ(solution.total_choice->equal_total, 159);
  EXPECT_EQ(solution.total_choice->limit, 4 * 159);
  EXPECT_EQ(solution.plan.total, 145);
}

TEST(Solver, WithoutATotalTakesNoMoreThanTheDataHold) {
  const Solution solution = solve(make_profile({linear_rank(1000, 0.01, 1e-3)}), {.largest_total = 100});
  EXPECT_LE(solution.plan.total, 100);
  EXPECT_EQ(solution.total_choice->limit, 100);
}

TEST(Solver, WithoutATotalStaysWithinTheBoundOfWhatEqualBatchesTake) {
  // The slow rank alone makes equal batches reach their rate early; the fast one goes on to gain.
  const Profile profile = make_profile({linear_rank(4096, 1, 1e-3), linear_rank(16, 0, 1)});
  const Solution bound = solve(profile, {.total_bound = 2});
  ASSERT_TRUE(bound.total_choice);
  EXPECT_LE(bound.plan.total, 2 * bound.total_choice->equal_total);
  EXPECT_GT(solve(profile, {.total_bound = 0}).plan.total, bound.plan.total);
}

TEST(Solver, FrontierRisesInTotalAndTimeAndHoldsTheBest) {
  const Solution solution = solve(with_network(cluster(8, 128, 1), 1e8, 10'000'000), {std::nullopt, 2});
  ASSERT_GT(solution.frontier.size(), 10U);
  EXPECT_LE(solution.frontier.size(), 64U);
  double best = 0;
  for (std::size_t i = 0; i < solution.frontier.size(); ++i) {
    const FrontierPoint& point = solution.frontier[i];
    EXPECT_NEAR(point.samples_per_second, static_cast<double>(point.total) / point.step_seconds,
                1e-9 * point.samples_per_second);
    best = std::max(best, point.samples_per_second);
    if (i == 0) continue;
    EXPECT_GT(point.total, solution.frontier[i - 1].total);
    EXPECT_GE(point.step_seconds, solution.frontier[i - 1].step_seconds);
  }
  EXPECT_GE(solution.plan.predicted.samples_per_second, 0.95 * solution.total_choice->best_samples_per_second);
  EXPECT_LE(solution.total_choice->best_samples_per_second, best * (1 + 1e-8));
  const auto at_plan = std::find_if(solution.frontier.begin(), solution.frontier.end(),
                                    [&](const FrontierPoint& point) { return point.total == solution.plan.total; });
  EXPECT_NE(at_plan, solution.frontier.end());
}

TEST(Solver, IsNeverSlowerThanTheEqualOrTheProportionalSplit) {
  Random random(17);
  for (int round = 0; round < 40; ++round) {
    const Profile profile = with_network(cluster(2 + random() % 6, 64, random()), 1e8, 1'000'000);
    const Solution solution = solve(profile, {static_cast<std::int64_t>(1 + random() % 120), 0});
    const double step = solution.plan.predicted.step_seconds * (1 - 1e-8);
    ASSERT_TRUE(solution.equal_split && solution.proportional_split);
    EXPECT_LE(step, solution.equal_split->step_seconds);
    EXPECT_LE(step, solution.proportional_split->step_seconds);
  }
}

TEST(Solver, EqualSplitGivesTheRemainderToTheLowestRanks) {
  const Profile profile = make_profile({linear_rank(4, 0, 2), linear_rank(4, 0, 1), linear_rank(4, 0, 1)});
  EXPECT_NEAR(solve(profile, {7, 1}).equal_split->step_seconds, 6, 1e-6);  // 3, 2, 2
  EXPECT_FALSE(solve(make_profile({linear_rank(20, 0, 1), linear_rank(2, 0, 1)}), {6, 1}).equal_split.has_value());
}

TEST(Solver, RefusesATotalAboveTheLimitsAndSaysWhatIsPossible) {
  Profile profile = make_profile({linear_rank(8, 0, 1e-3), linear_rank(2, 0, 1e-3)});
  profile.ranks[1].host = "small";
  EXPECT_THAT(refusal(profile, {31, 3}),
              AllOf(HasSubstr("--total 31 cannot be met"), HasSubstr("at most 30 samples"), HasSubstr("rank 0"),
                    HasSubstr("rank 1 on small 3 x 2"), HasSubstr("--max-accumulation 4"), Not(HasSubstr("\n"))));
  EXPECT_THAT(refusal(profile, {30, 3}), "solved");
  EXPECT_THAT(refusal(profile, {31, 0}), "solved");
}

TEST(Solver, RefusesAProfileInWhichNoRankHoldsASample) {
  EXPECT_THAT(refusal(make_profile({make_rank(0, {}), make_rank(0, {})}), {}),
              HasSubstr("no rank can hold one sample"));
}

TEST(Solver, RefusesOptionsOutOfRange) {
  const Profile profile = make_profile({linear_rank(8, 0, 1e-3)});
  EXPECT_THAT(refusal(profile, {0, 1}), HasSubstr("--total"));
  EXPECT_THAT(refusal(profile, {-5, 1}), HasSubstr("--total"));
  EXPECT_THAT(refusal(profile, {std::int64_t{1} << 40, 1}), HasSubstr("--total"));
  EXPECT_THAT(refusal(profile, {8, -1}), HasSubstr("--max-accumulation"));
  EXPECT_THROW(predict(profile, {4, 4}, 1), UsageError);
  EXPECT_THROW(predict(profile, {-4}, 1), UsageError);
  EXPECT_THROW(predict(profile, {0}, 1), UsageError);
}

TEST(Solver, SplitsAMillionSamplesOverAFewRanks) {
  const double begun = now_seconds();
  const Plan plan = solve(cluster(4, 512, 2), {1'000'000, 0}).plan;
  EXPECT_EQ(plan.total, 1'000'000);
  EXPECT_LT(now_seconds() - begun, 60);
}

TEST(Solver, SplitsOverTenThousandDifferentRanks) {
  const Profile profile = cluster(10'000, 64, 4);
  const double begun = now_seconds();
  EXPECT_EQ(solve(profile, {320'000, 1}).plan.total, 320'000);
  EXPECT_GE(solve(profile, {}).plan.total, 10'000);
  EXPECT_LT(now_seconds() - begun, 60);
}

}  // namespace
}  // namespace lshdp::plan
