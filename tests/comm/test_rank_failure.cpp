// A rank that dies ends the whole run soon, with a status that says so.
#include <string>

#include <gtest/gtest.h>

#include "support/command.h"

namespace lshdp::test {
namespace {

CommandResult run(const std::string& how) {
  return run_command("OMP_NUM_THREADS=1 " LSHDP_MPIRUN " -np 3 " LSHDP_FAILING_RANK " " + how, 30);
}

/// Starting takes its time on a busy machine and is not what is measured here.
double start_seconds() {
  const CommandResult result = run("none");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  return result.seconds;
}

TEST(AKilledRank, EndsTheRunWithinSeconds) {
  const double whole_run = start_seconds();
  const CommandResult result = run("kill");
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.exit_code, 124) << "the run hangs";
  EXPECT_LT(result.seconds, whole_run + 10);
}

TEST(AnAbortingRank, EndsTheRunWithItsExitCode) {
  const double whole_run = start_seconds();
  const CommandResult result = run("abort");
  EXPECT_EQ(result.exit_code, 3) << result.output;
  EXPECT_LT(result.seconds, whole_run + 10);
}

}  // namespace
}  // namespace lshdp::test
