// A rank that does not answer is named by the others, at the start and in mid-run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/host.h"
#include "support/command.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

using testing::HasSubstr;

/// The rank is let go on once a line of `words` is there.
CommandResult run_until_told(int silent, const std::string& words) {
  const TemporaryDirectory folder;
  const std::string out = (folder / "out").string();
  const std::string command = "OMP_NUM_THREADS=1 " LSHDP_MPIRUN " -np 3 " LSHDP_SILENT_RANK " run " +
                              std::to_string(silent) + " >" + out + " 2>&1 & " + "until grep -q '" + words + "' " +
                              out + "; do sleep 0.1; done; kill -CONT $(sed -n 's/^stopped //p' " + out +
                              "); wait $!; status=$?; cat " + out + "; exit $status";
  return run_command(command, 60);
}

TEST(ARankThatStandsStill, IsNamedAndTheRunGoesOnWithIt) {
  const CommandResult result = run_until_told(1, "W rank 1 (.*) has stood still");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("W rank 1 (" + host_name() + ") has stood still for 1 s"));
}

TEST(RankZero, IsWatchedByRankOne) {
  const CommandResult result = run_until_told(0, "E rank 1: rank 0 (.*) has stood still");
  EXPECT_EQ(result.exit_code, 0) << result.output;
}

TEST(ARankThatNeverAnswers, IsNamedByTheLowestAndEndsTheRun) {
  const CommandResult result =
      run_command("OMP_NUM_THREADS=1 " LSHDP_MPIRUN " -np 3 " LSHDP_SILENT_RANK " start 1", 60);
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.exit_code, 124) << "the run hangs";
  EXPECT_THAT(result.errors, HasSubstr("rank 0: no message has come from rank 1 ("));
  EXPECT_THAT(result.errors, HasSubstr("--mca btl_tcp_if_include"));
}

}  // namespace
}  // namespace lshdp::test
