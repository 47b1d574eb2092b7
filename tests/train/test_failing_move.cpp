// A rank that fails while blocks move ends the whole run soon.
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/clock.h"
#include "lshdp/data/converters.h"
#include "support/command.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

class FailingMove : public testing::TestWithParam<const char*> {};

TEST_P(FailingMove, EndsTheRunSoon) {
  const std::string how = GetParam();
  const TemporaryDirectory folder;
  const std::string data = (folder.path() / "data.h5").string();
  data::make_synthetic_images({.count = 100, .channels = 1, .size = 8, .classes = 5}, {.path = data});
  const CommandResult result =
      run_command(fmt::format("OMP_NUM_THREADS=1 {} -np 3 {} {} {}", LSHDP_MPIRUN, LSHDP_FAILING_MOVE, data, how));
  const double ended = now_seconds();
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.exit_code, 124) << "the run hangs";
  const std::string words = "failing at ";
  const std::size_t at = result.errors.find(words);
  ASSERT_NE(at, std::string::npos) << result.output << result.errors;
  EXPECT_LT(ended - std::stod(result.errors.substr(at + words.size())), kSoonSeconds);
  if (how == "kill") return;
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.errors, AnyOf(HasSubstr("rank 1: failed on purpose"),
                                   HasSubstr("rank 1: out of memory while blocks moved to other ranks")));
}

INSTANTIATE_TEST_SUITE_P(Runs, FailingMove, testing::Values("throw", "kill", "memory"));

}  // namespace
}  // namespace lshdp::test
