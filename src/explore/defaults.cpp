// Reads defaults lists.
#include "defaults.h"

#include <algorithm>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"

namespace lshdp::explore {
namespace {

[[noreturn]] void refuse(const std::string& source, const std::string& problem) {
  throw UsageError(fmt::format("{}: defaults: {}", source, problem));
}

/// Takes "@package" off the end of `name`.
std::string take_package(std::string& name) {
  const std::size_t at = name.find('@');
  if (at == std::string::npos) return "";
  const std::string package = name.substr(at + 1);
  name.resize(at);
  return package;
}

bool take_word(std::string& name, const std::string& word) {
  if (!name.starts_with(word + ' ')) return false;
  name.erase(0, name.find_first_not_of(' ', word.size()));
  return true;
}

std::vector<std::string> options_of(const Json& value, const std::string& source) {
  if (value.is_null()) return {};
  if (value.is_string()) return {value.get<std::string>()};
  const bool names = value.is_array() && std::ranges::all_of(value, [](const Json& name) { return name.is_string(); });
  if (!names) refuse(source, fmt::format("{} is neither a name, null nor a list of names", json_text(value)));
  return value.get<std::vector<std::string>>();
}

DefaultEntry group_entry(std::string name, const Json& value, const std::string& source) {
  DefaultEntry entry;
  if (take_word(name, "override"))
    refuse(source, fmt::format("'override {}' is not supported; choose on the command line: {}=..", name, name));
  entry.optional = take_word(name, "optional");
  entry.package = take_package(name);
  entry.group = name;
  entry.options = options_of(value, source);
  return entry;
}

DefaultEntry entry_of(const Json& value, const std::string& source) {
  if (value.is_object() && value.size() == 1) return group_entry(value.begin().key(), value.front(), source);
  if (!value.is_string())
    refuse(source, fmt::format("{} is no entry; write a name or 'group: name'", json_text(value)));
  DefaultEntry entry;
  std::string name = value.get<std::string>();
  entry.is_self = name == "_self_";
  entry.optional = take_word(name, "optional");
  entry.package = take_package(name);
  if (!entry.is_self) entry.options = {name};
  return entry;
}

}  // namespace

std::vector<DefaultEntry> read_defaults(const Json& defaults, const std::string& source) {
  if (!defaults.is_array()) refuse(source, "must be a list");
  std::vector<DefaultEntry> entries;
  for (const Json& value : defaults) entries.push_back(entry_of(value, source));
  const auto selves = std::ranges::count(entries, true, &DefaultEntry::is_self);
  if (selves > 1) refuse(source, "_self_ is there twice");
  if (selves == 0) entries.push_back({.is_self = true});
  return entries;
}

}  // namespace lshdp::explore
