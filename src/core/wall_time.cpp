// The system's clock as text.
#include "lshdp/core/wall_time.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <ctime>

#include <fmt/format.h>

namespace lshdp {

std::string utc_time_text() {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  tm date{};
  gmtime_r(&t.tv_sec, &date);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", date.tm_year + 1900, date.tm_mon + 1, date.tm_mday,
                     date.tm_hour, date.tm_min, date.tm_sec, t.tv_nsec / 1'000'000);
}

std::optional<double> seconds_since(const std::string& text) {
  tm date{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &date);
  if (rest == nullptr) return std::nullopt;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const double fraction = *rest == '.' ? std::strtod(rest, nullptr) : 0;
  return static_cast<double>(now.tv_sec - timegm(&date)) + 1e-9 * static_cast<double>(now.tv_nsec) - fraction;
}

namespace {

/// The local time in so many seconds, as strftime writes it.
std::string local_time_text(double seconds_from_now, const char* format) {
  constexpr double kFarthest = 1e10;  // some hundred years: the year keeps four digits
  const std::time_t then = std::time(nullptr) + static_cast<std::time_t>(std::min(seconds_from_now, kFarthest));
  tm date{};
  localtime_r(&then, &date);
  char text[64];
  return {text, std::strftime(text, sizeof text, format, &date)};
}

}  // namespace

std::string duration_text(double seconds) {
  constexpr std::int64_t minute = 60, hour = 60 * minute, day = 24 * hour;
  const auto whole = static_cast<std::int64_t>(std::lround(std::min(seconds, 1e15)));
  if (whole < 2 * minute) return fmt::format("{} s", whole);
  if (whole < hour) return fmt::format("{} min", whole / minute);
  if (whole < day) return fmt::format("{} h {} min", whole / hour, whole % hour / minute);
  return fmt::format("{} d {} h", whole / day, whole % day / hour);
}

std::string end_text(double seconds) {
  const char* format = seconds < 120 ? "%H:%M:%S" : seconds < 43'200 ? "%H:%M" : "%Y-%m-%d %H:%M";
  return local_time_text(seconds, format);
}

std::string time_of_day_text() { return local_time_text(0, "%H:%M:%S"); }

}  // namespace lshdp
