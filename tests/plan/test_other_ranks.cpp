// Predictions for fewer ranks and for many more: how a step grows with the ring.
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/plan/other_ranks.h"
#include "plan/profiles.h"

namespace lshdp::plan {
namespace {

using test::linear_rank;
using test::on_ring;
using test::ring_seconds;

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
