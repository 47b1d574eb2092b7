// An emulated speed stretches computing and nothing else, and speeds no host can keep are refused with a list that
// fits.
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/emulate.h"
#include "lshdp/core/error.h"
#include "lshdp/core/text.h"

namespace lshdp {
namespace {

/// Uses this thread's core for `seconds` of CPU time.
void compute(double seconds) {
  const double end = thread_cpu_seconds() + seconds;
  while (thread_cpu_seconds() < end) {
  }
}

TEST(SpeedEmulator, AQuarterOfACoreTakesAtLeastFourTimesTheCpuTime) {
  SpeedEmulator emulator(0.25);
  emulator.begin();
  const double begun = now_seconds();
  for (int i = 0; i < 5; ++i) {
    compute(0.01);
    emulator.pay();
  }
  EXPECT_GE(now_seconds() - begun, 0.2 - 1e-4);
}

/// How often this thread gave up its core of its own accord.
long sleeps() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

TEST(SpeedEmulator, TimeLostToOthersIsMadeUpByShorterSleeps) {
  SpeedEmulator emulator(0.5);
  emulator.begin();
  sleep_until(now_seconds() + 0.1);  // as if another process had the core
  compute(0.01);
  const long before = sleeps();
  emulator.pay();  // its deadline of 20 ms is long over
  EXPECT_EQ(sleeps(), before);
}

TEST(SpeedEmulator, WaitsAreNotPaidFor) {
  SpeedEmulator emulator(0.5);
  emulator.begin();
  sleep_until(now_seconds() + 0.1);
  emulator.begin();
  const double begun = now_seconds();
  compute(0.02);
  emulator.pay();
  EXPECT_GE(now_seconds() - begun, 0.04 - 1e-4);
}

TEST(SpeedEmulator, ImpossibleSharesAreRefused) {
  EXPECT_THROW(SpeedEmulator(0), std::invalid_argument);
  EXPECT_THROW(SpeedEmulator(1.5), std::invalid_argument);
  EXPECT_THROW(SpeedEmulator(-1), std::invalid_argument);
}

std::vector<RankSpeed> on_one_host(const std::vector<double>& shares, int cores, int threads = 1) {
  std::vector<RankSpeed> ranks;
  for (const double share : shares) ranks.push_back({share, "node", cores, threads});
  return ranks;
}

/// The message of the refusal, empty if there was none.
std::string refusal(const std::vector<RankSpeed>& ranks) {
  try {
    validate_speeds(ranks);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(ValidateSpeeds, AcceptsWhatTheHostCanKeep) {
  EXPECT_EQ(refusal(on_one_host({1, 0.5, 0.5}, 2)), "");
  EXPECT_EQ(refusal(on_one_host({0.1, 0.2, 0.3, 0.4}, 1)), "");
  EXPECT_EQ(refusal({{1, "a", 1, 1}, {0.5, "b", 1, 1}}), "");
}

TEST(ValidateSpeeds, FullSpeedEverywhereEmulatesNothing) { EXPECT_EQ(refusal(on_one_host({1, 1, 1, 1}, 2)), ""); }

TEST(ValidateSpeeds, SharesOutsideTheRangeAreRefused) {
  EXPECT_THAT(refusal(on_one_host({1, 0}, 2)), testing::HasSubstr("rank 1"));
  EXPECT_THAT(refusal(on_one_host({1.5, 0.5}, 2)), testing::HasSubstr("rank 0"));
}

TEST(ValidateSpeeds, ThreadsMultiplyWhatARankClaims) {
  EXPECT_EQ(refusal(on_one_host({0.5, 0.5}, 2, 2)), "");
  EXPECT_THAT(refusal(on_one_host({1, 0.5}, 2, 2)), testing::HasSubstr("3 cores but it has 2"));
}

TEST(ValidateSpeeds, TheListItProposesIsAcceptedAndKeepsTheRatios) {
  const auto message = refusal(on_one_host({1, 1, 0.5, 0.25}, 2));
  ASSERT_THAT(message, testing::HasSubstr("add up to 2.75 cores but it has 2"));
  const std::string option = "use --emulate-speed ";
  const auto proposed = parse_double_list(message.substr(message.find(option) + option.size()), "list");
  ASSERT_EQ(proposed.size(), 4U);
  EXPECT_EQ(refusal(on_one_host(proposed, 2)), "");
  EXPECT_NEAR(proposed[0] / proposed[3], 4, 0.03);
  EXPECT_GT(proposed[0] + proposed[1] + proposed[2] + proposed[3], 1.98);
}

TEST(ValidateSpeeds, TheMostCrowdedHostDecides) {
  const auto message = refusal({{1, "a", 1, 1}, {0.5, "a", 1, 1}, {1, "b", 1, 1}, {1, "b", 1, 1}});
  EXPECT_THAT(message, testing::HasSubstr("ranks on b"));
  EXPECT_THAT(message, testing::HasSubstr("use --emulate-speed 0.5,0.25,0.5,0.5"));
}

}  // namespace
}  // namespace lshdp
