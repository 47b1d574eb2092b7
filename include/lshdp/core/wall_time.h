// The date and time, for people and for records.
#pragma once
#include <optional>
#include <string>

namespace lshdp {

/// Now, in UTC, to the millisecond: "2026-11-27T05:39:47.123Z" (ISO 8601).
std::string utc_time_text();

/// How many seconds ago `utc_time_text()` said so; none if `text` is no such time.
std::optional<double> seconds_since(const std::string& text);

/// For what takes long: "45 s", "12 min", "3 h 20 min", "2 d 4 h".
std::string duration_text(double seconds);

/// When what takes so long from now ends, in local time: "14:06", with seconds where it is soon, with the date where it
/// is far off.
std::string end_text(double seconds);

/// Now, in local time: "14:03:10".
std::string time_of_day_text();

}  // namespace lshdp
