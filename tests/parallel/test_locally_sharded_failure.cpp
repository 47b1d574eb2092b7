// A rank that fails in the middle of a step ends the whole run soon, whether it leads its node or not.
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "lshdp/core/clock.h"
#include "support/command.h"

namespace lshdp::test {
namespace {

class FailingRank : public testing::TestWithParam<std::tuple<int, int, const char*>> {};

TEST_P(FailingRank, EndsTheRunSoon) {
  const auto [rank, nodes, how] = GetParam();
  const CommandResult result = run_command(
      fmt::format("OMP_NUM_THREADS=1 {} -np 3 {} {} {} {}", LSHDP_MPIRUN, LSHDP_FAILING_RANK, rank, nodes, how));
  const double ended = now_seconds();
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.exit_code, 124) << "the run hangs";
  const std::string words = "failing at ";
  const std::size_t at = result.errors.find(words);
  ASSERT_NE(at, std::string::npos) << result.output << result.errors;
  EXPECT_LT(ended - std::stod(result.errors.substr(at + words.size())), kSoonSeconds);
  if (std::string(how) == "throw") {
    EXPECT_EQ(result.exit_code, 3);
    EXPECT_NE(result.errors.find(fmt::format("rank {}: failed on purpose", rank)), std::string::npos) << result.errors;
  }
}

INSTANTIATE_TEST_SUITE_P(Runs, FailingRank,
                         testing::Values(std::tuple{0, 1, "throw"}, std::tuple{1, 1, "throw"},
                                         std::tuple{2, 2, "throw"}, std::tuple{1, 3, "throw"}, std::tuple{0, 2, "kill"},
                                         std::tuple{2, 2, "kill"}));

}  // namespace
}  // namespace lshdp::test
