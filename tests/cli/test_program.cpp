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

TEST(Program, GivesHelpHoweverItIsAskedFor) {
  for (const char* arguments : {"-h", "help", "train -h", "help train", "data -h", "help data", "data idx -h",
                                "help data idx", "optimize p.json -h"}) {
    const CommandResult result = run_lshdp(arguments);
    EXPECT_EQ(result.exit_code, 0) << arguments << result.errors;
    EXPECT_THAT(result.output, HasSubstr("Usage: lshdp ")) << arguments;
  }
}

TEST(Program, TellsItsVersionAndTheLibrariesThatItFound) {
  const CommandResult result = run_lshdp("--version");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, testing::MatchesRegex("lshdp [0-9.]+ [(].*[)]\nLibTorch 2[.].*: /.*/lib/libtorch_cpu.so\n"
                                                   "(.*\n)*Open MPI v4.*: /.*/libmpi.so.*\n(.*\n)*"));
}

TEST(Program, RefusesAnUnknownCommandWithTheList) {
  const CommandResult result = run_lshdp("trian --steps 3");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.errors, HasSubstr("lshdp: unknown command 'trian'; the commands are "));
  EXPECT_THAT(result.errors, HasSubstr("; did you mean train?\n"));
  EXPECT_THAT(run_lshdp("--verison").errors, HasSubstr("did you mean --version?"));
  EXPECT_THAT(run_lshdp("help optimise").errors, HasSubstr("did you mean optimize?"));
  EXPECT_THAT(run_lshdp("data txt").errors, HasSubstr("did you mean text?"));
  EXPECT_THAT(run_lshdp("init --model vit_b16 --save w").errors, HasSubstr("did you mean vit_b_16?"));
}

TEST(Program, FailsWhereStandardOutputCannotBeWritten) {
  for (const char* arguments : {"--version", "--help", "train --help", "data --help"}) {
    const CommandResult full = run_lshdp(std::string(arguments) + " >/dev/full");
    EXPECT_EQ(full.exit_code, 1) << arguments;
    EXPECT_THAT(full.errors, HasSubstr(": cannot write standard output: No space left on device\n")) << arguments;
    EXPECT_EQ(count_lines_with(full.errors, "lshdp"), 1) << full.errors;
  }
  const CommandResult closed = run_lshdp("--version >&-");
  EXPECT_EQ(closed.exit_code, 1);
  EXPECT_THAT(closed.errors, HasSubstr("cannot write standard output: Bad file descriptor"));
  const CommandResult gone = run_command("{ trap '' PIPE; while printf x 2>/dev/null; do :; done; " + lshdp_binary() +
                                         " --version; echo \"code $?\" >&2; } | true");
  EXPECT_THAT(gone.errors, testing::AllOf(HasSubstr("cannot write standard output: Broken pipe"), HasSubstr("code 1")));
}

TEST(Program, RefusesToRunTheSameWorkInEveryRank) {
  const CommandResult result = run_lshdp_on(2, "data info a.h5");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.errors, HasSubstr("lshdp data: this command runs in one process; start it without mpirun\n"));
  EXPECT_EQ(count_lines_with(result.errors, "lshdp"), 1) << result.errors;
}

TEST(Program, OnlyRankZeroSpeaksAndAllEndSoon) {
  const CommandResult result = run_lshdp_on(3, "trian");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(count_lines_with(result.errors, "lshdp"), 1) << result.errors;
  EXPECT_EQ(count_lines_with(run_lshdp_on(3, "--help").output, "Usage:"), 1);
}

}  // namespace
}  // namespace lshdp::test
