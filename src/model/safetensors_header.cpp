// Strict parsing of the JSON header: whatever it says is checked before a byte of data is believed.
#include "safetensors_header.h"

#include <algorithm>
#include <array>
#include <set>
#include <stdexcept>

#include <fmt/format.h>

#include "lshdp/core/json.h"

namespace lshdp::model {
namespace {

constexpr std::size_t kMaxDimensions = 64;  // at::Tensor takes no more
constexpr int kDeepest = 8;                 // lists and objects in each other; trees are copied by recursion

struct NamedType {
  std::string_view name;
  at::ScalarType type;
};
constexpr std::array<NamedType, 15> kTypes{{{"F64", at::kDouble},
                                            {"F32", at::kFloat},
                                            {"F16", at::kHalf},
                                            {"BF16", at::kBFloat16},
                                            {"F8_E4M3", at::kFloat8_e4m3fn},
                                            {"F8_E5M2", at::kFloat8_e5m2},
                                            {"I64", at::kLong},
                                            {"I32", at::kInt},
                                            {"I16", at::kShort},
                                            {"I8", at::kChar},
                                            {"U64", at::kUInt64},
                                            {"U32", at::kUInt32},
                                            {"U16", at::kUInt16},
                                            {"U8", at::kByte},
                                            {"BOOL", at::kBool}}};

/// nlohmann keeps the last of two equal keys; in this format two are an error.
Json parse_without_duplicates(std::string_view text, const std::string& source) {
  std::vector<std::set<std::string>> open;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kDeepest) throw UsageError(source + ": the header is nested too deeply; the file is damaged");
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second) {
      throw_wrong_key(source, value.get<std::string>(), "is in the header twice; the file is damaged");
    }
    return true;
  };
  try {
    return Json::parse(text, watch);
  } catch (const Json::exception&) {  // bad syntax, or a number that no type holds
    throw UsageError(fmt::format("{}: the header is not valid JSON; is this a safetensors file?", source));
  }
}

std::optional<at::ScalarType> type_named(const std::string& name) {
  for (const NamedType& known : kTypes) {
    if (known.name == name) return known.type;
  }
  return std::nullopt;
}

std::vector<std::uint64_t> whole_numbers(const Json& list, const std::string& key, const std::string& source) {
  if (!list.is_array()) throw_wrong_key(source, key, "must be a list");
  std::vector<std::uint64_t> values;
  for (const Json& entry : list) {
    if (!entry.is_number_unsigned()) throw_wrong_key(source, key, "must hold whole numbers that are not negative");
    values.push_back(entry.get<std::uint64_t>());
  }
  return values;
}

/// Bytes of a tensor of this shape; every product on the way must fit, also where another size is zero.
std::uint64_t bytes_of(const SafetensorsEntry& entry, const std::string& source) {
  std::int64_t padded = static_cast<std::int64_t>(c10::elementSize(*entry.type)), exact = padded;
  for (const std::int64_t size : entry.shape) {
    if (__builtin_mul_overflow(padded, std::max<std::int64_t>(size, 1), &padded)) {
      throw_wrong_key(source, entry.name, "has a shape too large for any file");
    }
    exact *= size;
  }
  return static_cast<std::uint64_t>(exact);
}

std::vector<std::int64_t> shape_of(const Json& value, const std::string& name, const std::string& source) {
  const std::vector<std::uint64_t> sizes =
      whole_numbers(json_value<Json>(value, "shape", source), name + ".shape", source);
  if (sizes.size() > kMaxDimensions)
    throw_wrong_key(source, name, fmt::format("has more than {} dimensions", kMaxDimensions));
  std::vector<std::int64_t> shape;
  for (const std::uint64_t size : sizes) {
    if (size > static_cast<std::uint64_t>(INT64_MAX))
      throw_wrong_key(source, name, "has a shape too large for any file");
    shape.push_back(static_cast<std::int64_t>(size));
  }
  return shape;
}

SafetensorsEntry entry_of(const std::string& name, const Json& value, const std::string& source) {
  if (!value.is_object() || value.size() != 3) {
    throw_wrong_key(source, name, "must be an object of dtype, shape and data_offsets");
  }
  const std::string where = fmt::format("{}: tensor {}", source, name);
  const auto type_name = json_value<std::string>(value, "dtype", where);
  SafetensorsEntry entry{name, type_name, type_named(type_name), shape_of(value, name, where), 0, 0};
  const auto offsets = whole_numbers(json_value<Json>(value, "data_offsets", where), "data_offsets", where);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) throw_wrong_key(where, "data_offsets", "must be [begin, end]");
  entry.begin = offsets[0];
  entry.end = offsets[1];
  if (!entry.type) return entry;
  const std::uint64_t bytes = bytes_of(entry, source);
  if (entry.end - entry.begin != bytes) {
    throw_wrong_key(
        where, "data_offsets",
        fmt::format("span {} bytes, but the shape needs {}; the file is damaged", entry.end - entry.begin, bytes));
  }
  return entry;
}

void require_text_values(const Json& metadata, const std::string& source) {
  bool good = metadata.is_object();
  for (auto it = metadata.begin(); good && it != metadata.end(); ++it) good = it.value().is_string();
  if (!good) throw_wrong_key(source, "__metadata__", "must be an object of texts");
}

void require_no_gaps(const std::vector<SafetensorsEntry>& sorted, std::uint64_t data_bytes, const std::string& source) {
  std::uint64_t expected = 0;
  for (const SafetensorsEntry& entry : sorted) {
    if (entry.begin != expected) {
      throw_wrong_key(source, entry.name,
                      fmt::format("begins at byte {} where {} was expected: tensors {}; the file is damaged",
                                  entry.begin, expected, entry.begin < expected ? "overlap" : "leave a gap"));
    }
    expected = entry.end;
  }
  if (expected == data_bytes) return;
  throw UsageError(
      fmt::format("{}: the header describes {} bytes of tensors, the file holds {}; it is truncated or damaged", source,
                  expected, data_bytes));
}

std::string_view name_of(at::ScalarType type) {
  for (const NamedType& known : kTypes) {
    if (known.type == type) return known.name;
  }
  throw std::invalid_argument(fmt::format("safetensors files cannot hold tensors of type {}", c10::toString(type)));
}

}  // namespace

std::vector<SafetensorsEntry> parse_safetensors_header(std::string_view header, std::uint64_t data_bytes,
                                                       const std::string& source) {
  const Json object = parse_without_duplicates(header, source);
  if (!object.is_object()) throw UsageError(fmt::format("{}: the header must be a JSON object", source));
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, value] : object.items()) {
    if (name == "__metadata__") {
      require_text_values(value, source);
    } else {
      entries.push_back(entry_of(name, value, source));
    }
  }
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  require_no_gaps(entries, data_bytes, source);
  return entries;
}

std::vector<SafetensorsEntry> place_tensors(const std::vector<TensorShape>& tensors) {
  std::set<std::string> names;
  std::vector<SafetensorsEntry> entries;
  std::uint64_t begin = 0;
  for (const auto& [name, type, shape] : tensors) {
    if (!names.insert(name).second) throw std::invalid_argument(fmt::format("tensor {} is given twice", name));
    SafetensorsEntry entry{name, std::string(name_of(type)), type, shape, begin, begin};
    entry.end += bytes_of(entry, name);
    begin = entry.end;
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::string make_safetensors_header(const std::vector<SafetensorsEntry>& entries,
                                    const std::map<std::string, std::string>& metadata) {
  Json header = {{"__metadata__", metadata}};
  header["__metadata__"]["format"] = "pt";  // Hugging Face's loader asks for it
  for (const SafetensorsEntry& entry : entries) {
    header[entry.name] = {
        {"dtype", entry.type_name}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace lshdp::model
