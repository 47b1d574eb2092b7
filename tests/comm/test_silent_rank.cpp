// A rank that does not answer or stands still is named by the others, at the start and in mid-run, and ends the run
// after the limit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/host.h"
#include "support/command.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kRun = "OMP_NUM_THREADS=1 " LSHDP_MPIRUN " -np 3 " LSHDP_SILENT_RANK " ";

/// The rank is let go on once a line of `words` is there.
CommandResult run_until_told(const std::string& how, const std::string& words) {
  const TemporaryDirectory folder;
  const std::string out = (folder / "out").string();
  const std::string command = kRun + how + " >" + out + " 2>&1 & " + "until grep -q '" + words + "' " + out +
                              "; do sleep 0.1; done; kill -CONT $(sed -n 's/^stopped //p' " + out +
                              "); wait $!; status=$?; cat " + out + "; exit $status";
  return run_command(command, 60);
}

TEST(ARankThatIsStopped, IsNamedByAllOthersAndTheRunGoesOnWithIt) {
  const CommandResult result = run_until_told("run 1", "E rank 2: nothing has come from rank 1");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("W nothing has come from rank 1 (" + host_name() +
                                       ") for 1.4 s; last known of it: forward of block 3 of step 17"));
}

TEST(RankZero, IsNamedByTheOthers) {
  const CommandResult result = run_until_told("run 0", "E rank 2: nothing has come from rank 0");
  EXPECT_EQ(result.exit_code, 0) << result.output;
}

TEST(ARankWhoseWorkStandsStill, IsNamedAlthoughItsEngineWorks) {
  const CommandResult result = run_until_told("disk 1", "W rank 1 (.*) has stood still");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr(") has stood still for 1.4 s in reading data of step 17"));
  EXPECT_THAT(result.output, Not(HasSubstr("nothing has come")));
}

TEST(ARankThatStaysStopped, EndsTheRunAfterTheLimit) {
  const CommandResult result = run_command(kRun + "run 1 3", 60);
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_THAT(result.errors, HasSubstr("rank 0: nothing has come from rank 1 (" + host_name() + ") for 3 s"));
}

TEST(ARankWhoseWorkStaysStandingStill, EndsTheRunAfterTheLimit) {
  const CommandResult result = run_command(kRun + "disk 0 3", 60);
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_THAT(result.errors, HasSubstr("rank 1: rank 0 (" + host_name() + ") has stood still"));
}

TEST(ARankThatNeverAnswers, IsNamedByTheLowestAndEndsTheRun) {
  const CommandResult result = run_command(kRun + "start 1", 60);
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.exit_code, 124) << "the run hangs";
  EXPECT_THAT(result.errors, HasSubstr("rank 0: no message has come from rank 1 ("));
  EXPECT_THAT(result.errors, HasSubstr("--mca btl_tcp_if_include"));
}

}  // namespace
}  // namespace lshdp::test
