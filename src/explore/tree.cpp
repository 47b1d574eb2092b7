// Looks keys up in a configuration's tree.
#include "tree.h"

#include <fmt/format.h>

#include "lshdp/core/text.h"

namespace lshdp::explore {
namespace {

Json* child(Json& node, const std::string& name) {
  if (node.is_object()) {
    const auto found = node.find(name);
    return found == node.end() ? nullptr : &*found;
  }
  const bool index =
      node.is_array() && !name.empty() && name.size() < 10 && name.find_first_not_of("0123456789") == std::string::npos;
  if (!index) return nullptr;
  const auto at = static_cast<std::size_t>(std::stoul(name));
  return at < node.size() ? &node[at] : nullptr;
}

void collect_keys(const Json& node, const std::string& prefix, std::vector<std::string>& keys) {
  if (!node.is_object()) return;
  for (const auto& [name, value] : node.items()) {
    keys.push_back(prefix + name);
    collect_keys(value, prefix + name + '.', keys);
  }
}

}  // namespace

std::vector<std::string> split_key(std::string_view key) {
  std::vector<std::string> parts{""};
  for (const char c : key) {
    if (c == '.')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

Json* find_value(Json& tree, const std::vector<std::string>& path) {
  Json* node = &tree;
  for (const std::string& name : path) {
    node = child(*node, name);
    if (node == nullptr) return nullptr;
  }
  return node;
}

std::string nearest_key(const Json& tree, std::string_view key) {
  std::vector<std::string> keys;
  collect_keys(tree, "", keys);
  const std::string last = split_key(key).back();
  for (const std::string& known : keys) {
    // The same name in another place, such as seq_length for model.seq_length.
    if (known.ends_with('.' + last)) return fmt::format("; did you mean {}?", known);
  }
  return did_you_mean(key, keys);
}

void merge(Json& onto, const Json& from) {
  if (!onto.is_object() || !from.is_object()) {
    onto = from;
    return;
  }
  for (const auto& [name, value] : from.items()) {
    if (onto.contains(name))
      merge(onto[name], value);
    else
      onto[name] = value;
  }
}

}  // namespace lshdp::explore
