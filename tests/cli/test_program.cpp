// The program as a whole: help, version, and errors that one rank reports while all end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "program.h"

namespace lshdp::test {
namespace {

using testing::HasSubstr;

TEST(Program, ShowsItsCommandsWithoutArguments) {
  for (const char* arguments : {"", "--help"}) {
    const CommandResult result = run_lshdp(arguments);
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_THAT(result.output, HasSubstr("Usage: lshdp COMMAND"));
  }
}

TEST(Program, TellsItsVersion) {
  const CommandResult result = run_lshdp("--version");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, testing::StartsWith("lshdp "));
}

TEST(Program, RefusesAnUnknownCommandWithTheList) {
  const CommandResult result = run_lshdp("trian --steps 3");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.errors, HasSubstr("lshdp: unknown command 'trian'; the commands are "));
}

TEST(Program, OnlyRankZeroSpeaksAndAllEndSoon) {
  const CommandResult result = run_lshdp_on(3, "trian");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(count_lines_with(result.errors, "lshdp"), 1) << result.errors;
  EXPECT_LT(result.seconds, 10);
  EXPECT_EQ(count_lines_with(run_lshdp_on(3, "--help").output, "Usage:"), 1);
}

}  // namespace
}  // namespace lshdp::test
