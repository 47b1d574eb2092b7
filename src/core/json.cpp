// Reading and writing of JSON files with messages for people.
#include "lshdp/core/json.h"

#include <algorithm>

#include <fmt/format.h>

#include "lshdp/core/file.h"
#include "lshdp/core/file_kind.h"

namespace lshdp {
namespace {

/// Lists and objects in each other: trees are copied, written and destroyed by recursion.
constexpr int kDeepest = 200;

/// Of brackets outside of text.
int depth_of(std::string_view text) {
  int depth = 0, deepest = 0;
  bool quoted = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (quoted && c == '\\')
      ++at;
    else if (c == '"')
      quoted = !quoted;
    else if (!quoted)
      depth += (c == '[' || c == '{') ? 1 : (c == ']' || c == '}') ? -1 : 0;
    deepest = std::max(deepest, depth);
  }
  return deepest;
}

}  // namespace

Json parse_json(std::string_view text, const std::string& source) {
  if (depth_of(text) > kDeepest)
    throw UsageError(fmt::format("{}: lists and objects are nested more than {} deep", source, kDeepest));
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    const std::size_t at = std::min<std::size_t>(error.byte, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    if (const std::string kind = kind_of_bytes(text); !kind.empty())
      throw UsageError(fmt::format("{}: not valid JSON: this is {}", source, kind));
    if (text.empty()) throw UsageError(fmt::format("{}: not valid JSON: it is empty", source));
    if (line > 1 && Json::accept(text.substr(0, text.find('\n'))))
      throw UsageError(fmt::format("{}: not valid JSON: a value in each line (a metrics.jsonl?)", source));
    throw UsageError(fmt::format("{}: not valid JSON (line {}, byte {})", source, line, error.byte));
  } catch (const Json::exception&) {
    // The one other error of the parser.
    throw UsageError(fmt::format("{}: not valid JSON (a number is too large)", source));
  }
}

Json read_json(const std::filesystem::path& path) { return parse_json(read_file(path), path.string()); }

std::string json_text(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

void write_json(const std::filesystem::path& path, const Json& value) { write_file(path, json_text(value, 2) + "\n"); }

void require_version(const Json& object, int version, const std::string& source) {
  const int found = json_value<int>(object, "version", source);
  if (found != version) {
    throw UsageError(
        fmt::format("{}: version {} is not supported; this program reads version {}", source, found, version));
  }
}

void throw_wrong_key(const std::string& source, std::string_view key, std::string_view problem) {
  throw UsageError(fmt::format("{}: \"{}\" {}", source, key, problem));
}

}  // namespace lshdp
