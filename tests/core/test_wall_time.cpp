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

}  // namespace
}  // namespace lshdp
