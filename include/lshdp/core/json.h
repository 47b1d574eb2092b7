// JSON files that are checked as they are read: each message names the file, the key and what was expected.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "lshdp/core/error.h"

namespace lshdp {

using Json = nlohmann::json;

/// Parses `text`; throws UsageError "SOURCE: not valid JSON at line L: ..." otherwise.
Json parse_json(std::string_view text, const std::string& source);
/// Parses a file. Throws UsageError.
Json read_json(const std::filesystem::path& path);
/// Writes `value`, indented, whole or not at all. Throws RunError.
void write_json(const std::filesystem::path& path, const Json& value);

/// Throws UsageError unless `object` is an object whose "version" is `version`.
void require_version(const Json& object, int version, const std::string& source);

[[noreturn]] void throw_wrong_key(const std::string& source, std::string_view key, std::string_view problem);

/// The value of `key`, checked to have type T (whole numbers are not taken from fractions, nor numbers from text).
/// Throws UsageError naming `source` and `key` if it is missing or of another type.
template <typename T>
T json_value(const Json& object, std::string_view key, const std::string& source) {
  if (!object.is_object()) throw_wrong_key(source, key, "is missing: the value around it is not an object");
  const auto found = object.find(key);
  if (found == object.end()) throw_wrong_key(source, key, "is missing");
  if constexpr (std::is_same_v<T, bool>) {
    if (!found->is_boolean()) throw_wrong_key(source, key, "must be true or false");
  } else if constexpr (std::is_integral_v<T>) {
    if (!found->is_number_integer()) throw_wrong_key(source, key, "must be a whole number");
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!found->is_number()) throw_wrong_key(source, key, "must be a number");
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!found->is_string()) throw_wrong_key(source, key, "must be text");
  }
  try {
    return found->get<T>();
  } catch (const Json::exception&) {
    throw_wrong_key(source, key, "has the wrong type");
  }
}

/// As json_value, with `otherwise` where the key is missing.
template <typename T>
T json_value_or(const Json& object, std::string_view key, T otherwise, const std::string& source) {
  return object.is_object() && object.contains(key) ? json_value<T>(object, key, source) : otherwise;
}

}  // namespace lshdp
