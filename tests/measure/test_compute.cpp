// For how long ranks measure their computing, and near which batch: from what one sample takes each.
#include <gtest/gtest.h>

#include "compute.h"

namespace lshdp::measure {
namespace {

TEST(ComputeTime, FollowsTheSharesOfTheTotalByTheTimeForOneSample) {
  // Rates of 1, 1 and 2 samples a second share 32 as 8, 8 and 16, in 8 seconds.
  const std::vector<double> one_sample{1, 1, 0.5};
  EXPECT_EQ(compute_time(one_sample, 0, 32, 0).likely, 8);
  EXPECT_EQ(compute_time(one_sample, 2, 32, 0).likely, 16);
  EXPECT_DOUBLE_EQ(compute_time(one_sample, 2, 32, 0).slowest, 8);
  EXPECT_DOUBLE_EQ(compute_time(one_sample, 1, 32, 0).seconds, 56) << "seven times the likely batch";
}

TEST(ComputeTime, IsTheSameOnAllRanksAndKeptWithinBounds) {
  const std::vector<double> slow{10, 20, 30}, quick{1e-3, 2e-3, 0};
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_DOUBLE_EQ(compute_time(slow, rank, 64, 0).seconds, 100);
    EXPECT_DOUBLE_EQ(compute_time(quick, rank, 64, 0).seconds, 20);
    EXPECT_DOUBLE_EQ(compute_time(slow, rank, 64, 5).seconds, 5) << "the user's word";
  }
  EXPECT_EQ(compute_time(quick, 2, 64, 0).likely, 0) << "it holds no sample";
  EXPECT_EQ(compute_time(slow, 2, 1, 0).likely, 1);
}

TEST(ComputeTime, WithoutATotalGrowsWithASample) {
  EXPECT_DOUBLE_EQ(compute_time({1, 0.5}, 0, 0, 0).seconds, 45);
  EXPECT_EQ(compute_time({1, 0.5}, 0, 0, 0).likely, 0);
}

}  // namespace
}  // namespace lshdp::measure
