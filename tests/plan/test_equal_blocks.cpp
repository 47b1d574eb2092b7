// Equal blocks get equal times, and all blocks together the time that was measured.
#include <gtest/gtest.h>

#include "equal_blocks.h"

namespace lshdp::plan {
namespace {

const std::vector<BlockProfile> kBlocks{{"embedding", 5, 1, 8},
                                        {"attention 0", 40, 30, 8},
                                        {"mlp 0", 80, 60, 8},
                                        {"attention 1", 40, 30, 8},
                                        {"mlp 1", 80, 60, 8}};

TEST(EqualBlocks, ShareTheTimeOfTheirKindInEachDirection) {
  const std::vector<BlockTimes> measured{{4, {0, 3, 2, 1, 6}, {0, 5, 8, 3, 12}}};
  const std::vector<BlockTimes> averaged = average_equal_blocks(kBlocks, measured);
  ASSERT_EQ(averaged.size(), 1U);
  const std::vector<double> forward{0, 2, 4, 2, 4}, backward{0, 4, 10, 4, 10};
  for (std::size_t block = 0; block < 5; ++block) {
    EXPECT_NEAR(averaged[0].forward[block], forward[block], 1e-12);
    EXPECT_NEAR(averaged[0].backward[block], backward[block], 1e-12);
  }
}

TEST(EqualBlocks, TakeTheSharesOfBatchesOfAboutTheSizeToo) {
  // At 4, all time is attention's; at 8, twice as long, all is the MLP's. 64 is another matter.
  const std::vector<BlockTimes> measured{{4, {0, 1, 0, 1, 0}, {0, 2, 0, 2, 0}},
                                         {8, {0, 0, 2, 0, 2}, {0, 0, 4, 0, 4}},
                                         {64, {48, 0, 0, 0, 0}, {0, 0, 0, 0, 0}}};
  const std::vector<BlockTimes> averaged = average_equal_blocks(kBlocks, measured);
  for (std::size_t block = 1; block < 5; ++block) {
    EXPECT_NEAR(averaged[0].forward[block], 0.5, 1e-12);
    EXPECT_NEAR(averaged[1].backward[block], 2, 1e-12);
  }
  EXPECT_NEAR(averaged[2].forward[0], 48, 1e-12);
}

}  // namespace
}  // namespace lshdp::plan
