// Seconds and bytes of consecutive blocks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "block_costs.h"
#include "lshdp/core/error.h"
#include "plan/layouts.h"
#include "time_curve.h"

namespace lshdp::plan {
namespace {

using test::cluster_of;
using test::make_rank;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

/// Three blocks, timed at 2 and 6 of the curve's sizes; the first block's part falls from a half to a quarter.
RankProfile measured_rank() {
  RankProfile rank = make_rank(8, {{1, 0.2}, {2, 0.3}, {6, 0.8}});
  rank.block_times = {{2, {0.05, 0.025, 0.025}, {0.1, 0.05, 0.05}}, {6, {0.1, 0.1, 0.2}, {0.1, 0.1, 0.2}}};
  return rank;
}

TEST(BlockCosts, AllBlocksTakeWhatTheCurveSaysAtEverySize) {
  const RankProfile rank = measured_rank();
  const BlockTimesOfRank times(rank, 3, 8);
  const TimeCurve curve(rank);
  for (std::int64_t batch = 1; batch <= 8; ++batch) {
    EXPECT_NEAR(times.seconds({0, 3}, batch).both(), curve.seconds(batch), 1e-12) << batch;
    EXPECT_NEAR(times.sums(batch).of({0, 3}).both(), curve.seconds(batch), 1e-12) << batch;
  }
}

TEST(BlockCosts, ABlockTakesWhatWasMeasuredAndStraightLinesBetween) {
  const BlockTimesOfRank times(measured_rank(), 3, 8);
  EXPECT_NEAR(times.seconds({0, 1}, 2).forward, 0.05, 1e-12);
  EXPECT_NEAR(times.seconds({0, 1}, 2).backward, 0.1, 1e-12);
  EXPECT_NEAR(times.seconds({0, 1}, 4).forward, 0.075, 1e-12);
  EXPECT_NEAR(times.seconds({1, 3}, 6).backward, 0.3, 1e-12);
}

TEST(BlockCosts, ItsPartStaysBelowAndAboveWhatWasMeasured) {
  const BlockTimesOfRank times(measured_rank(), 3, 20);
  EXPECT_NEAR(times.seconds({0, 1}, 1).both(), 0.1, 1e-12);
  const TimeCurve curve(measured_rank());
  EXPECT_NEAR(times.seconds({0, 1}, 8).both(), 0.25 * curve.seconds(8), 1e-12);
  EXPECT_NEAR(times.seconds({0, 3}, 20).both(), 0.8 + 14 * 0.125, 1e-12) << "above what the whole model holds";
}

TEST(BlockCosts, AddsUpBytesAndParameters) {
  Profile profile = cluster_of({1}, {.blocks = 3}, 0);
  profile.blocks[1] = {"middle", 7, 50, 30};
  const BlockCosts costs(profile, 8);
  EXPECT_EQ(costs.blocks(), 3U);
  EXPECT_EQ(costs.parameters({0, 2}), 1007);
  EXPECT_EQ(costs.activation_bytes({1, 3}), 450);
  EXPECT_EQ(costs.input_bytes({0, 2}), 0);
  EXPECT_EQ(costs.input_bytes({2, 3}), 30);
  EXPECT_EQ(costs.sent_bytes({0, 2}), 30);
  EXPECT_EQ(costs.sent_bytes({2, 3}), 0);
}

TEST(BlockCosts, KnowsNothingOfARankThatDoesNotHoldTheModel) {
  EXPECT_FALSE(BlockTimesOfRank(make_rank(0, {}), 3, 8).known());
  EXPECT_TRUE(BlockTimesOfRank(measured_rank(), 3, 8).known());
}

TEST(BlockCosts, RefusesAProfileWithoutTimesOfBlocks) {
  EXPECT_THAT(
      [] {
        BlockTimesOfRank(make_rank(8, {{1, 0.2}}), 3, 8);
      },
      ThrowsMessage<UsageError>(HasSubstr("no times of blocks for rank 0 (node)")));
}

}  // namespace
}  // namespace lshdp::plan
