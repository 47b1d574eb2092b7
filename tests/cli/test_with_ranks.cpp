// with_ranks: whatever rank fails and however, all ranks end soon and the reason is said once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "program.h"

namespace lshdp::test {
namespace {

using testing::HasSubstr;

CommandResult run_ranks_that_fail(const std::string& way) {
  return run_command(mpirun_line(3) + " " RANKS_THAT_FAIL " " + way);
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
}

TEST(WithRanks, NamesTheRankThatFailedAndBringsTheOthersDown) {
  const CommandResult result = run_ranks_that_fail("run");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.errors, HasSubstr("lshdp sample: rank 1 ("));
  EXPECT_THAT(result.errors, HasSubstr("): out of memory at step 7"));
}

TEST(WithRanks, KeepsTheExitCodeOfAUsageErrorOfOneRank) {
  const CommandResult result = run_ranks_that_fail("usage");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.errors, HasSubstr("lshdp sample: rank 2 ("));
}

TEST(WithRanks, LetsOneRankSpeakOfWhatRanksMetBeforeMpi) {
  for (const int late : {0, 3}) {  // seconds by which rank 0 is later than the others
    const CommandResult result = run_ranks_that_fail("before " + std::to_string(late));
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.errors.substr(0, result.errors.find('\n')), "lshdp sample: --total: too large");
    EXPECT_EQ(count_lines_with(result.errors, "lshdp sample: "), 1) << result.errors;
  }
}

TEST(WithRanks, TellsRankZeroWhatAnotherRankMetBeforeMpi) {
  const CommandResult result = run_ranks_that_fail("one-before");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(count_lines_with(result.errors, "lshdp sample: rank 2 ("), 1) << result.errors;
  EXPECT_THAT(result.errors, HasSubstr("): --total: too large\n"));
}

TEST(WithRanks, PutsALibrarysErrorIntoWords) {
  const CommandResult result = run_ranks_that_fail("foreign");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.errors,
              HasSubstr("): an error that lshdp has no words for; please report it with this: first line\n"));
  EXPECT_THAT(result.errors, testing::Not(HasSubstr("frame #0")));
}

TEST(WithRanks, LeavesNoRankBehindWhenOneIsKilled) {
  const CommandResult result = run_ranks_that_fail("killed");
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.exit_code, 124) << "timed out";
}

}  // namespace
}  // namespace lshdp::test
