// Resolves interpolations, each with those that it leads to.
#include "interpolation.h"

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"
#include "tree.h"

namespace lshdp::explore {
namespace {

constexpr int kDeepest = 32;

/// A value within text, as OmegaConf, and so Python, writes it.
std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return "None";
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  return json_text(value);
}

class Resolver {
 public:
  explicit Resolver(Json& tree) : tree_(tree) {}

  void resolve_all(Json& node, std::vector<std::string>& path) {
    if (node.is_string()) {
      const std::string text = node.get<std::string>();
      node = resolved(node, path, 0);
      // A dictionary may bring interpolations of its own, and among them one that leads back here.
      if (node.is_structured() && path.size() > kDeepest) refuse(text, "it leads back to itself");
    }
    std::size_t index = 0;
    const auto enter = [&](const std::string& name, Json& entry) {
      path.push_back(name);
      resolve_all(entry, path);
      path.pop_back();
    };
    if (node.is_object()) {
      for (const auto& [name, entry] : node.items()) enter(name, entry);
    } else if (node.is_array()) {
      for (Json& entry : node) enter(std::to_string(index++), entry);
    }
  }

 private:
  /// `value`, which stands at `path`, with its interpolations replaced.
  Json resolved(const Json& value, const std::vector<std::string>& path, int depth) {
    if (!value.is_string()) return value;
    const std::string text = value.get<std::string>();
    std::string result;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = std::min(text.find("${", at), text.size());
      result += text.substr(at, begin - at);
      if (begin == text.size()) break;
      const std::size_t end = text.find('}', begin);
      if (end == std::string::npos) refuse(text, "} is missing");
      const Json found = look_up(text.substr(begin + 2, end - begin - 2), path, text, depth);
      if (begin == 0 && end + 1 == text.size()) return found;
      if (found.is_structured()) refuse(text, "a list or dictionary cannot stand within text");
      result += text_of(found);
      at = end + 1;
    }
    return result;
  }

  Json look_up(const std::string& key, std::vector<std::string> path, const std::string& text, int depth) {
    if (depth > kDeepest) refuse(text, "it leads back to itself");
    if (key.find(':') != std::string::npos) refuse(text, "resolvers are not supported; write the value");
    std::vector<std::string> wanted;
    std::size_t dots = key.find_first_not_of('.');
    if (dots == std::string::npos) refuse(text, "a key is missing");
    if (dots > 0) {
      if (dots > path.size()) refuse(text, "there are too many dots");
      path.resize(path.size() - dots);
      wanted = path;
    }
    for (const std::string& part : split_key(key.substr(dots))) wanted.push_back(part);
    const Json* found = find_value(tree_, wanted);
    if (found == nullptr) refuse(text, fmt::format("there is no key {}{}", key, nearest_key(tree_, key)));
    return resolved(*found, wanted, depth + 1);
  }

  [[noreturn]] static void refuse(const std::string& text, const std::string& problem) {
    throw UsageError(fmt::format("interpolation {}: {}", printable(text), problem));
  }

  Json& tree_;
};

}  // namespace

void resolve_interpolations(Json& tree) {
  std::vector<std::string> path;
  Resolver(tree).resolve_all(tree, path);
}

}  // namespace lshdp::explore
