// The system's clock as text.
#include "lshdp/core/wall_time.h"

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

std::string time_of_day_text() {
  const std::time_t now = std::time(nullptr);
  tm date{};
  localtime_r(&now, &date);
  return fmt::format("{:02}:{:02}:{:02}", date.tm_hour, date.tm_min, date.tm_sec);
}

}  // namespace lshdp
