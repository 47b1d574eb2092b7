// Reads an override's key, and applies overrides to a configuration.
#include "lshdp/explore/override.h"

#include <algorithm>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"
#include "override_value.h"
#include "tree.h"

namespace lshdp::explore {
namespace {

using Kind = Override::Kind;

[[noreturn]] void refuse(std::string_view text, const std::string& problem) {
  throw UsageError(fmt::format("override {}: {}", printable(text), problem));
}

/// A name such as seq_length or h100-80gb; with dollars, no part of a group.
bool is_name(std::string_view text, bool dollars) {
  const auto letter = [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (dollars && c == '$');
  };
  const auto later = [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '-'; };
  return !text.empty() && letter(text.front()) && std::ranges::all_of(text.substr(1), later);
}

bool is_index(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; }) &&
         (text == "0" || text.front() != '0');
}

bool is_path(std::string_view text) {
  const std::vector<std::string> parts = split_key(text);
  if (parts.size() == 1) return is_name(parts.front(), true);
  return std::ranges::all_of(parts, [](const std::string& part) { return is_name(part, true) || is_index(part); });
}

bool is_group(std::string_view text) {
  while (true) {
    const std::size_t slash = std::min(text.find('/'), text.size());
    if (!is_name(text.substr(0, slash), false)) return false;
    if (slash == text.size()) return true;
    text.remove_prefix(slash + 1);
  }
}

/// Takes + or ++ or ~ off the beginning of `key`.
Kind take_kind(std::string_view& key) {
  const std::pair<std::string_view, Kind> prefixes[] = {{"++", Kind::force_add}, {"+", Kind::add}, {"~", Kind::remove}};
  for (const auto& [prefix, kind] : prefixes) {
    if (!key.starts_with(prefix)) continue;
    key.remove_prefix(prefix.size());
    return kind;
  }
  return Kind::change;
}

[[noreturn]] void refuse_missing(const Override& override, const Json& tree) {
  const std::string near = nearest_key(tree, override.key);
  refuse(override.text,
         fmt::format("there is no key {}{}{}", override.key, near,
                     override.kind == Kind::change ? fmt::format(" (to add one: +{})", override.text) : ""));
}

/// Keys of `value` that `node` lacks may not be set by a change.
void require_known(const Json& node, const Json& value, const Override& override, const std::string& key) {
  if (!node.is_object() || !value.is_object()) return;
  for (const auto& [name, entry] : value.items()) {
    if (!node.contains(name))
      refuse(override.text, fmt::format("there is no key {}.{}{}", key, name, nearest_key(node, name)));
    require_known(node[name], entry, override, key + '.' + name);
  }
}

void set_value(Json& node, const Override& override) {
  const Json& value = *override.value;
  // Where one is a list and the other a dictionary, neither can take the other's entries.
  if (node.is_structured() && value.is_structured() && node.is_array() != value.is_array())
    refuse(override.text, fmt::format("{} is a {}", override.key, node.is_array() ? "list" : "dictionary"));
  merge(node, value);
}

void change(const Override& override, Json& tree) {
  Json* node = find_value(tree, split_key(override.key));
  if (node == nullptr) refuse_missing(override, tree);
  require_known(*node, *override.value, override, override.key);
  set_value(*node, override);
}

/// The value of `path`, with dictionaries made on the way there.
Json& make_value(Json& tree, const std::vector<std::string>& path, const Override& override) {
  Json* node = &tree;
  for (const std::string& name : path) {
    if (node->is_array()) {
      node = find_value(*node, {name});
      if (node == nullptr) refuse(override.text, fmt::format("a list has no entry {}", name));
      continue;
    }
    if (!node->is_object()) *node = Json::object();
    node = &(*node)[name];
  }
  return *node;
}

void add(const Override& override, Json& tree) {
  const std::vector<std::string> path = split_key(override.key);
  const Json* there = find_value(tree, path);
  const bool taken = there != nullptr && !there->is_null() && !override.value->is_structured();
  if (override.kind == Kind::add && taken)
    refuse(override.text, fmt::format("{} is there already; without + its value is changed", override.key));
  set_value(make_value(tree, path, override), override);
}

void remove(const Override& override, Json& tree) {
  std::vector<std::string> path = split_key(override.key);
  const Json* node = find_value(tree, path);
  if (node == nullptr || node->is_null()) refuse_missing(override, tree);
  if (override.value && !override.value->is_null() && *override.value != *node)
    refuse(override.text, fmt::format("the value of {} is {}", override.key, json_text(*node)));
  const std::string last = path.back();
  path.pop_back();
  Json& parent = *find_value(tree, path);
  if (parent.is_array()) refuse(override.text, "entries of a list cannot be removed; write the list");
  parent.erase(last);
}

}  // namespace

Override parse_override(std::string_view text) {
  Override result{.text = std::string(text)};
  const std::size_t equal = std::min(text.find('='), text.size());
  std::string_view key = text.substr(0, equal);
  result.kind = take_kind(key);
  if (const std::size_t at = key.find('@'); at != std::string_view::npos) {
    result.package = key.substr(at + 1);
    key = key.substr(0, at);
    if (!is_path(result.package)) refuse(text, "what stands behind @ is no key");
  }
  if (!is_path(key) && !is_group(key))
    refuse(text, fmt::format("'{}' is no key; write key=value, +key=value, ++key=value or ~key", printable(key)));
  result.key = key;
  if (equal == text.size()) {
    if (result.kind != Kind::remove) refuse(text, "a value is missing; write key=value");
    return result;
  }
  const std::size_t value = std::min(text.find_first_not_of(" \t", equal + 1), text.size());
  result.value = value == text.size() ? Json("") : parse_value(text, value);
  return result;
}

void apply(const Override& override, Json& tree) {
  if (!override.package.empty())
    refuse(override.text, fmt::format("there is no group of configurations {}", override.key));
  switch (override.kind) {
    case Kind::change:
      return change(override, tree);
    case Kind::add:
    case Kind::force_add:
      return add(override, tree);
    case Kind::remove:
      return remove(override, tree);
  }
}

}  // namespace lshdp::explore
