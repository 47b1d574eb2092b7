// A rank that dies ends the whole run soon, with a status that says so.
#include <string>

#include <gtest/gtest.h>

#include "lshdp/core/clock.h"
#include "support/command.h"

namespace lshdp::test {
namespace {

struct Failed {
  CommandResult result;
  double seconds = 0;  // from the rank's last words to the end of mpirun; starting is not what is measured here
};

Failed run(const std::string& how) {
  Failed failed{run_command("OMP_NUM_THREADS=1 " LSHDP_MPIRUN " -np 3 " LSHDP_FAILING_RANK " " + how)};
  const double ended = now_seconds();
  const std::string words = "failing at ";
  const std::size_t at = failed.result.errors.find(words);
  EXPECT_NE(at, std::string::npos) << "the rank did not get as far as failing: " << failed.result.output;
  if (at != std::string::npos) failed.seconds = ended - std::stod(failed.result.errors.substr(at + words.size()));
  return failed;
}

TEST(AKilledRank, EndsTheRunSoon) {
  const Failed failed = run("kill");
  EXPECT_NE(failed.result.exit_code, 0);
  EXPECT_NE(failed.result.exit_code, 124) << "the run hangs";
  EXPECT_LT(failed.seconds, kSoonSeconds);
  RecordProperty("seconds", std::to_string(failed.seconds));
}

TEST(AnAbortingRank, EndsTheRunWithItsExitCode) {
  const Failed failed = run("abort");
  EXPECT_EQ(failed.result.exit_code, 3) << failed.result.output;
  EXPECT_LT(failed.seconds, kSoonSeconds);
  RecordProperty("seconds", std::to_string(failed.seconds));
}

}  // namespace
}  // namespace lshdp::test
