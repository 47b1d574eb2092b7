// Checks that the readers of profile.json and batches.json share, on top of core's json_value.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "lshdp/core/json.h"

namespace lshdp::plan {

/// More samples than any rank takes in a step; with it, sums of batches cannot overflow.
inline constexpr std::int64_t kLargestBatch = 1'000'000'000;
/// Thirty years: longer times are typing errors, and their sums could become infinite.
inline constexpr double kMaxSeconds = 1e9;
/// Far less than anything measured; what is divided by it stays finite.
inline constexpr double kLeastPositive = 1e-12;

/// A whole number from `low` to `high`. Throws UsageError naming `source` and `key`.
inline std::int64_t json_int(const Json& object, std::string_view key, const std::string& source, std::int64_t low,
                             std::int64_t high = std::numeric_limits<std::int64_t>::max()) {
  const auto value = json_value<std::int64_t>(object, key, source);
  if (value < low) throw_wrong_key(source, key, fmt::format("must be at least {}, not {}", low, value));
  if (value > high) throw_wrong_key(source, key, fmt::format("must be at most {}, not {}", high, value));
  return value;
}

/// A finite figure from 0 to `high`. Throws UsageError naming `source` and `key`.
inline double json_figure(const Json& object, std::string_view key, const std::string& source,
                          double high = std::numeric_limits<double>::max()) {
  const auto value = json_value<double>(object, key, source);
  if (!std::isfinite(value) || value < 0) throw_wrong_key(source, key, "must be a finite number, 0 or more");
  if (value > high) throw_wrong_key(source, key, fmt::format("must be at most {:g}, not {:g}", high, value));
  return value;
}

/// A figure above 0, at least kLeastPositive, as json_figure.
inline double json_positive(const Json& object, std::string_view key, const std::string& source, double high) {
  const double value = json_figure(object, key, source, high);
  if (value <= 0) throw_wrong_key(source, key, "must be above 0");
  if (value < kLeastPositive)
    throw_wrong_key(source, key, fmt::format("must be at least {:g}, not {:g}", kLeastPositive, value));
  return value;
}

/// The value of `key`, of whatever type. Throws UsageError naming `source` and `key` if it is missing.
inline const Json& json_at(const Json& object, std::string_view key, const std::string& source) {
  if (!object.is_object() || !object.contains(key)) throw_wrong_key(source, key, "is missing");
  return *object.find(key);
}

/// The list `key` of `object`. Throws UsageError naming `source` and `key`.
inline const Json& json_list(const Json& object, std::string_view key, const std::string& source) {
  const Json& found = json_at(object, key, source);
  if (!found.is_array()) throw_wrong_key(source, key, "must be a list");
  return found;
}

/// The object `key` of `object`. Throws UsageError naming `source` and `key`.
inline const Json& json_object(const Json& object, std::string_view key, const std::string& source) {
  const Json& found = json_at(object, key, source);
  if (!found.is_object()) throw_wrong_key(source, key, "must be an object");
  return found;
}

/// "profile.json: ranks[3]": the source that messages about one entry of a list name.
inline std::string entry_source(const std::string& source, std::string_view list, std::size_t index) {
  return fmt::format("{}: {}[{}]", source, list, index);
}

/// Throws unless entry `index` of "ranks" says that it is rank `index`.
inline void require_rank(const Json& entry, std::size_t index, const std::string& source) {
  if (json_value<std::int64_t>(entry, "rank", source) != static_cast<std::int64_t>(index)) {
    throw_wrong_key(source, "rank", fmt::format("must be {}: ranks are listed in order from 0", index));
  }
}

}  // namespace lshdp::plan
