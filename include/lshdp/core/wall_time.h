// The date and time, for people and for records.
#pragma once
#include <string>

namespace lshdp {

/// Now, in UTC, to the millisecond: "2026-11-27T05:39:47.123Z" (ISO 8601).
std::string utc_time_text();

/// Now, in local time: "14:03:10".
std::string time_of_day_text();

}  // namespace lshdp
