// with_ranks: whatever rank fails and however, all ranks end soon and the reason is said once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "program.h"

namespace lshdp::test {
namespace {

using testing::HasSubstr;

CommandResult run_ranks_that_fail(const std::string& way) {
  return run_command(mpirun_line(3) + " " RANKS_THAT_FAIL " " + way, 30);
}

TEST(WithRanks, ReturnsZeroWhenTheBodyDoes) {
  const CommandResult result = run_ranks_that_fail("not");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output, "");
}

TEST(WithRanks, SaysAnAgreedErrorOnceAndEndsInOrder) {
  const CommandResult result = run_ranks_that_fail("agreed");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(count_lines_with(result.errors, "lshdp sample: "), 1) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr("data.h5: truncated"));
  EXPECT_THAT(result.errors, testing::Not(HasSubstr("MPI_ABORT")));
  EXPECT_LT(result.seconds, 10);
}

TEST(WithRanks, NamesTheRankThatFailedAndBringsTheOthersDown) {
  const CommandResult result = run_ranks_that_fail("run");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.errors, HasSubstr("lshdp sample: rank 1 ("));
  EXPECT_THAT(result.errors, HasSubstr("): out of memory at step 7"));
  EXPECT_LT(result.seconds, 10);
}

TEST(WithRanks, KeepsTheExitCodeOfAUsageErrorOfOneRank) {
  const CommandResult result = run_ranks_that_fail("usage");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.errors, HasSubstr("lshdp sample: rank 2 ("));
}

TEST(WithRanks, PrintsTheFirstLineOfALibrarysError) {
  const CommandResult result = run_ranks_that_fail("foreign");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.errors, HasSubstr("): first line\n"));
  EXPECT_THAT(result.errors, testing::Not(HasSubstr("frame #0")));
}

TEST(WithRanks, LeavesNoRankBehindWhenOneIsKilled) {
  const CommandResult result = run_ranks_that_fail("killed");
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.exit_code, 124) << "timed out";
  EXPECT_LT(result.seconds, 10);
}

}  // namespace
}  // namespace lshdp::test
