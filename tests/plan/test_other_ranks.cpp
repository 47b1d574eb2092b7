// Predictions for fewer ranks and for many more: what an idle rank costs, and how a step grows with the ring.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/plan/describe.h"
#include "lshdp/plan/other_ranks.h"
#include "plan/profiles.h"

namespace lshdp::plan {
namespace {

using test::linear_rank;
using test::make_profile;
using test::with_network;
using ::testing::HasSubstr;
using ::testing::Not;

/// An ideal ring: 1 ms of latency a hop, 100 MB/s.
double ring_seconds(std::size_t ranks, double bytes) {
  const auto n = static_cast<double>(ranks);
  return 2 * (n - 1) * 1e-3 + 2 * (n - 1) / n * bytes / 1e8;
}

Profile on_ring(std::vector<RankProfile> ranks, std::int64_t bytes) {
  Profile profile = with_network(make_profile(std::move(ranks)), 1e8, bytes);
  profile.network.latency_seconds = 1e-3;
  for (std::int64_t size = 4096; size < 4 * bytes; size *= 4) {
    profile.network.curve.push_back({size, ring_seconds(profile.ranks.size(), static_cast<double>(size))});
  }
  return profile;
}

TEST(OtherRanks, CarryTheNetworkOverToARingOfAnotherLength) {
  const RankProfile rank = linear_rank(64, 0, 1e-3);
  const Profile four = on_ring({rank, rank, rank, rank}, 1'000'000);
  for (const std::size_t number : {2U, 3U, 16U, 256U}) {
    const Profile other = on_other_ranks(four, std::vector<std::size_t>(number, 0));
    ASSERT_EQ(other.ranks.size(), number);
    EXPECT_EQ(other.ranks.back().rank, static_cast<int>(number) - 1);
    for (const NetworkPoint& point : other.network.curve) {
      EXPECT_NEAR(point.seconds, ring_seconds(number, static_cast<double>(point.bytes)), 1e-12);
    }
  }
}

TEST(OtherRanks, ShareTheUpdateAndNeedNoNetworkAlone) {
  Profile two = on_ring({linear_rank(8, 0, 1e-3), linear_rank(8, 0, 2e-3)}, 1'000'000);
  two.ranks[1].update_seconds = 0.01;
  const Profile alone = on_other_ranks(two, {1});
  EXPECT_DOUBLE_EQ(alone.ranks[0].update_seconds, 0.02);
  EXPECT_EQ(alone.network.bytes_per_second, 0);
  EXPECT_THROW(on_other_ranks(alone, {0, 0}), UsageError);
}

TEST(LeavingOut, AnIdleRankIsPredictedAndTold) {
  // 30 ms of computing each; the wire's 155 ms over three ranks are 104 ms over two.
  const RankProfile fast = linear_rank(64, 0, 1e-3);
  const Profile profile = on_ring({fast, linear_rank(64, 0, 1), fast}, 11'300'000);
  const Solution solution = solve(profile, {.total = 60});
  EXPECT_EQ(solution.plan.ranks[1].batch, 0);
  EXPECT_NEAR(solution.plan.predicted.step_seconds, ring_seconds(3, 11.3e6), 1e-6);
  EXPECT_NEAR(solution.plan.without_idle_step_seconds, ring_seconds(2, 11.3e6), 1e-6);
  EXPECT_THAT(describe(profile, solution), HasSubstr("Rank 1 gets no samples. Left out of the run altogether, it would "
                                                     "make the step 115 ms: 25.6 % less."));
  const Plan read = plan_from_json(to_json(solution.plan), "b.json");
  EXPECT_EQ(read.without_idle_step_seconds, solution.plan.without_idle_step_seconds);
}

TEST(LeavingOut, IsNotSpokenOfWhereEachRankHasSamples) {
  const RankProfile rank = linear_rank(64, 0, 1e-3);
  const Profile profile = make_profile({rank, rank});
  const Solution solution = solve(profile, {.total = 60});
  EXPECT_EQ(solution.plan.without_idle_step_seconds, 0);
  EXPECT_THAT(describe(profile, solution), Not(HasSubstr("no samples")));
  EXPECT_TRUE(to_json(solution.plan)["without_idle_ranks"].is_null());
}

TEST(LeavingOut, AnIdleRankWithoutANetworkGainsNothing) {
  const Profile profile = make_profile({linear_rank(64, 0, 1e-3), linear_rank(64, 0, 1)});
  EXPECT_THAT(describe(profile, solve(profile, {.total = 32})), HasSubstr("32 ms: no gain"));
}

TEST(Scale, RepeatsTheRanksWithATotalInProportion) {
  const Profile profile = on_ring({linear_rank(64, 0, 1e-3), linear_rank(64, 0, 3e-3)}, 1'000'000);
  const auto points = predict_scale(profile, 40, 0, {2, 4, 64, 5});
  ASSERT_EQ(points.size(), 4U);
  EXPECT_EQ(points[0].plan.predicted.step_seconds, solve(profile, {.total = 40}).plan.predicted.step_seconds);
  EXPECT_EQ(points[1].plan.total, 80);
  EXPECT_EQ(points[2].plan.total, 1280);
  EXPECT_EQ(points[3].plan.total, 100);
  EXPECT_EQ(points[2].plan.ranks[62].batch, 30);
  EXPECT_EQ(points[2].plan.ranks[63].batch, 10);
  // 30 ms of computing hide 18 ms on 2 ranks, not the 126 hops on 64.
  EXPECT_NEAR(points[2].plan.predicted.step_seconds, ring_seconds(64, 1e6), 1e-9);
  EXPECT_THROW(predict_scale(profile, 40, 0, {0}), UsageError);
}

}  // namespace
}  // namespace lshdp::plan
