// The date and time as text.
#include <ctime>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/wall_time.h"

namespace lshdp {
namespace {

TEST(WallTime, IsTheDateAndTimeInUtc) {
  const std::time_t before = std::time(nullptr);
  const std::string text = utc_time_text();
  EXPECT_THAT(text, testing::MatchesRegex("20[0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9:]+\\.[0-9][0-9][0-9]Z"));
  std::tm date{};
  ASSERT_NE(strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &date), nullptr);
  EXPECT_GE(timegm(&date), before - 1);
  EXPECT_LE(timegm(&date), std::time(nullptr) + 1);
}

TEST(WallTime, OfDayHasSeconds) {
  EXPECT_THAT(time_of_day_text(), testing::MatchesRegex("[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"));
}

TEST(WallTime, TellsHowLongAgoATextWasWritten) {
  EXPECT_NEAR(seconds_since(utc_time_text()).value(), 0, 60);
  EXPECT_GT(seconds_since("2026-01-01T00:00:00.500Z").value(), 0);
  EXPECT_NEAR(seconds_since("2026-01-01T00:00:00.500Z").value() - seconds_since("2026-01-01T00:01:00Z").value(), 59.5,
              1);
  EXPECT_FALSE(seconds_since("yesterday"));
  EXPECT_FALSE(seconds_since(""));
}

TEST(WallTime, OfAnEndIsAsExactAsItIsNear) {
  EXPECT_THAT(end_text(90), testing::MatchesRegex("[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"));
  EXPECT_THAT(end_text(3600), testing::MatchesRegex("[0-2][0-9]:[0-5][0-9]"));
  EXPECT_THAT(end_text(1e300), testing::MatchesRegex("2[0-9][0-9][0-9]-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]"));
  EXPECT_EQ(duration_text(3 * 3600 + 20 * 60 + 5), "3 h 20 min");
}

}  // namespace
}  // namespace lshdp
