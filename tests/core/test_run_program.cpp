// Programs are found in PATH, get the input they are given, and their end is told.
#include <cstdlib>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/run_program.h"
#include "support/temporary_directory.h"

namespace lshdp {
namespace {

TEST(FindProgram, LooksIntoPath) {
  ASSERT_TRUE(find_program("sh"));
  EXPECT_EQ(find_program("sh")->filename(), "sh");
  EXPECT_FALSE(find_program("no-such-program"));
}

TEST(FindProgram, TakesWhatCanBeRun) {
  const test::TemporaryDirectory folder;
  write_file(folder / "tool", "#!/bin/sh\n");
  const std::string before = std::getenv("PATH");
  ::setenv("PATH", ("/no/such/folder:" + folder.path().string()).c_str(), 1);
  EXPECT_FALSE(find_program("tool"));
  std::filesystem::permissions(folder / "tool", std::filesystem::perms::owner_all);
  EXPECT_EQ(find_program("tool"), folder / "tool");
  ::setenv("PATH", before.c_str(), 1);
}

TEST(RunProgram, GivesTheExitCode) {
  EXPECT_EQ(run_program({"true"}), 0);
  EXPECT_EQ(run_program({"sh", "-c", "exit 7"}), 7);
  EXPECT_EQ(run_program({"sh", "-c", "kill -9 $$"}), 128 + 9);
}

TEST(RunProgram, GivesItsInputWhole) {
  const test::TemporaryDirectory folder;
  const std::string input(1'000'000, 'x');
  EXPECT_EQ(run_program({"sh", "-c", "cat >" + (folder / "copy").string()}, input), 0);
  EXPECT_EQ(read_file(folder / "copy"), input);
  // One that reads nothing of it is no error.
  EXPECT_EQ(run_program({"true"}, input), 0);
}

TEST(RunProgram, SaysWhatCannotBeStarted) {
  try {
    run_program({"no-such-program"});
    FAIL();
  } catch (const RunError& error) {
    EXPECT_STREQ(error.what(), "cannot start no-such-program: No such file or directory");
  }
}

}  // namespace
}  // namespace lshdp
