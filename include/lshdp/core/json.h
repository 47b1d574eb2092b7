// JSON files that are checked as they are read: each message names the file, the key and what was expected.
#pragma once
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/core/error.h"

namespace lshdp {

using Json = nlohmann::json;

/// Parses `text`; throws UsageError "SOURCE: not valid JSON at line L: ..." otherwise.
Json parse_json(std::string_view text, const std::string& source);
/// Parses a file. Throws UsageError.
Json read_json(const std::filesystem::path& path);
/// `value` on one line, or indented. Bytes that are no UTF-8 (a file's name may hold any) become U+FFFD.
std::string json_text(const Json& value, int indent = -1);
/// Writes `value`, indented, whole or not at all, as json_text. Throws WriteError.
void write_json(const std::filesystem::path& path, const Json& value);

/// Throws UsageError unless `object` is an object whose "version" is `version`.
void require_version(const Json& object, int version, const std::string& source);

[[noreturn]] void throw_wrong_key(const std::string& source, std::string_view key, std::string_view problem);

template <typename T>
inline constexpr bool is_vector = false;
template <typename T>
inline constexpr bool is_vector<std::vector<T>> = true;

/// What a message calls a T; empty for types that convert themselves.
template <typename T>
std::string json_kind() {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_integral_v<T>) return "a whole number";
  if constexpr (std::is_floating_point_v<T>) return "a number";
  if constexpr (std::is_same_v<T, std::string>) return "text";
  if constexpr (is_vector<T>)
    return "a list" +
           (json_kind<typename T::value_type>().empty() ? "" : ", each entry " + json_kind<typename T::value_type>());
  return "";
}

/// True if `value` is a T as it stands: nlohmann itself turns fractions, booleans and numbers that are too large into
/// integers.
template <typename T>
bool json_is(const Json& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value.is_boolean();
  } else if constexpr (std::is_integral_v<T>) {
    if (value.is_number_unsigned()) return std::in_range<T>(value.get<std::uint64_t>());
    return value.is_number_integer() && std::in_range<T>(value.get<std::int64_t>());
  } else if constexpr (std::is_floating_point_v<T>) {
    return value.is_number();
  } else if constexpr (std::is_same_v<T, std::string>) {
    return value.is_string();
  } else if constexpr (is_vector<T>) {
    return value.is_array() && std::all_of(value.begin(), value.end(), json_is<typename T::value_type>);
  } else {
    return true;
  }
}

/// The value of `key`, checked to have type T (whole numbers are not taken from fractions, nor numbers from text, also
/// in vectors). Throws UsageError naming `source` and `key` if it is missing, of another type or out of T's range.
template <typename T>
T json_value(const Json& object, std::string_view key, const std::string& source) {
  if (!object.is_object()) throw_wrong_key(source, key, "is missing: the value around it is not an object");
  const auto found = object.find(key);
  if (found == object.end()) throw_wrong_key(source, key, "is missing");
  if (!json_is<T>(*found)) {
    const bool out_of_range = std::is_integral_v<T> && !std::is_same_v<T, bool> && found->is_number_integer();
    throw_wrong_key(source, key, out_of_range ? "is out of range" : "must be " + json_kind<T>());
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
