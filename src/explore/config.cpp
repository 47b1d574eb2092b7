// Composes configurations from files and overrides.
#include "lshdp/explore/config.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "defaults.h"
#include "interpolation.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/text.h"
#include "tree.h"

namespace lshdp::explore {
namespace {

namespace fs = std::filesystem;

constexpr int kDeepest = 32;

std::string join(const std::string& left, const std::string& right, char between) {
  return left.empty() || right.empty() ? left + right : left + between + right;
}

fs::path file_of(const fs::path& folder, const std::string& name) {
  return folder / (name.ends_with(".yaml") || name.ends_with(".yml") ? name : name + ".yaml");
}

bool is_folder(const std::vector<fs::path>& folders, const std::string& group) {
  std::error_code error;
  return std::ranges::any_of(folders, [&](const fs::path& folder) { return fs::is_directory(folder / group, error); });
}

/// The nearest of `names`: one that begins as `name` does, such as h100-80gb for h100, or one with few other letters.
std::string nearest_name(const std::string& name, const std::vector<std::string>& names) {
  const auto longer = std::ranges::find_if(names, [&](const std::string& one) { return one.starts_with(name + '-'); });
  return longer == names.end() ? did_you_mean(name, names) : fmt::format("; did you mean {}?", *longer);
}

/// `value` below the dotted `package`.
Json below(const std::string& package, Json value) {
  if (package.empty()) return value;
  std::vector<std::string> path = split_key(package);
  for (auto name = path.rbegin(); name != path.rend(); ++name) {
    Json outer = Json::object();
    outer[*name] = std::move(value);
    value = std::move(outer);
  }
  return value;
}

/// The package that a file's first lines ask for: "# @package _global_".
std::optional<std::string> package_of_header(const std::string& text) {
  constexpr std::string_view mark = "# @package ";
  for (std::size_t at = 0; at < text.size() && text[at] == '#';) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    if (line.starts_with(mark)) return line.substr(mark.size(), line.find_last_not_of(" \r") + 1 - mark.size());
    at = end + 1;
  }
  return std::nullopt;
}

class Composer {
 public:
  Composer(std::vector<fs::path> folders, const std::vector<std::string>& overrides) : folders_(std::move(folders)) {
    for (const std::string& text : overrides) sort(parse_override(text));
  }

  Configuration compose(const std::string& name) {
    add_file(name, "", "", false, 0);
    return finish();
  }
  Configuration compose(Json tree, const std::string& source) {
    add_defaults(tree, source, "", "", 0);
    return finish();
  }

 private:
  /// What the command line chooses of a group.
  struct Choice {
    Override override;
    std::vector<std::string> options;
    bool used = false;
  };

  void sort(Override override) {
    if (!is_folder(folders_, override.key) || override.key.find('.') != std::string::npos) {
      changes_.push_back(std::move(override));
      return;
    }
    Choice choice{std::move(override), {}, false};
    read_options(choice);
    choices_[choice_key(choice.override.key, choice.override.package)] = choice;
  }

  /// A group by its name and the package that it is put into, empty for the group's own.
  static std::string choice_key(const std::string& group, const std::string& package) {
    return group + '@' + (package == package_of_group(group) ? "" : package);
  }

  static std::string package_of_group(std::string group) {
    std::ranges::replace(group, '/', '.');
    return group;
  }

  [[noreturn]] static void refuse(const Override& override, const std::string& problem) {
    throw UsageError(fmt::format("override {}: {}", printable(override.text), problem));
  }

  void read_options(Choice& choice) const {
    const Override& override = choice.override;
    if (override.kind == Override::Kind::force_add)
      refuse(override, fmt::format("{} is a group of configurations: use {}=.. or +{}=..", override.key, override.key,
                                   override.key));
    if (!override.value) return;
    const Json list = override.value->is_array() ? *override.value : Json::array({*override.value});
    for (const Json& option : list) {
      if (!option.is_string() || option.get<std::string>().empty())
        refuse(override, fmt::format("{} is a group of configurations: choose from {}", override.key,
                                     fmt::join(names_in(folders_, override.key), ", ")));
      choice.options.push_back(option.get<std::string>());
    }
  }

  /// Reads `group`/`name` and all that its defaults list names.
  void add_file(const std::string& name, const std::string& group, const std::string& package, bool optional,
                int depth) {
    const fs::path path = find_file(name, group);
    if (path.empty()) {
      if (optional) return;
      refuse_unknown(name, group);
    }
    if (depth > kDeepest) throw UsageError(fmt::format("{}: its defaults lists name each other", path.string()));
    const std::string text = read_file(path);
    Json tree = parse_yaml(text, path.string());
    if (tree.is_null()) tree = Json::object();
    if (!tree.is_object()) throw UsageError(fmt::format("{}: holds no keys", path.string()));
    result_.files.push_back(path);
    std::string own_package = package;
    if (const auto header = package_of_header(text)) own_package = *header == "_global_" ? "" : *header;
    add_defaults(tree, path, group, own_package, depth);
  }

  void add_defaults(Json& tree, const fs::path& path, const std::string& group, const std::string& package, int depth) {
    std::vector<DefaultEntry> entries{{.is_self = true}};
    if (tree.contains("defaults")) {
      entries = read_defaults(tree["defaults"], path.string());
      tree.erase("defaults");
    }
    for (const DefaultEntry& entry : entries) {
      if (entry.is_self)
        merge(result_.tree, below(package, tree));
      else
        add_entry(entry, group, package, depth);
    }
    if (depth == 0) add_chosen_groups();
  }

  static std::string package_below(const DefaultEntry& entry, const std::string& package) {
    if (entry.package == "_global_") return "";
    if (entry.package == "_here_") return package;
    if (!entry.package.empty()) return join(package, entry.package, '.');
    return join(package, package_of_group(entry.group.substr(entry.group.starts_with('/') ? 1 : 0)), '.');
  }

  void add_entry(const DefaultEntry& entry, const std::string& group, const std::string& package, int depth) {
    const bool absolute = entry.group.starts_with('/');
    const std::string inner = absolute ? entry.group.substr(1) : join(group, entry.group, '/');
    std::vector<std::string> options = entry.options;
    const auto found = choices_.find(choice_key(inner, package_below(entry, package)));
    if (!entry.group.empty() && found != choices_.end()) {
      Choice& choice = found->second;
      if (choice.override.kind == Override::Kind::add)
        refuse(choice.override, fmt::format("{0} is chosen already; without + it is changed", choice.override.key));
      if (choice.override.kind == Override::Kind::remove && choice.override.value && choice.options != options)
        refuse(choice.override, fmt::format("{} is not chosen so", choice.override.key));
      choice.used = true;
      options = choice.override.kind == Override::Kind::remove ? std::vector<std::string>() : choice.options;
    }
    for (const std::string& option : options) {
      const bool from_root = option.starts_with('/');
      add_file(from_root ? option.substr(1) : option, from_root ? "" : inner, package_below(entry, package),
               entry.optional, depth + 1);
    }
  }

  /// Groups that the command line adds come after everything else of the first file.
  void add_chosen_groups() {
    for (auto& [key, choice] : choices_) {
      if (choice.override.kind != Override::Kind::add) continue;
      DefaultEntry entry{.group = '/' + choice.override.key, .package = choice.override.package};
      choice.used = true;
      for (const std::string& option : choice.options)
        add_file(option, choice.override.key, package_below(entry, ""), false, 1);
    }
  }

  Configuration finish() {
    for (const auto& [key, choice] : choices_) {
      if (choice.used) continue;
      const std::string remedy =
          choice.override.kind == Override::Kind::change ? "; to add it: +" + choice.override.text : "";
      refuse(choice.override, fmt::format("no defaults list has the group {}{}", choice.override.key, remedy));
    }
    for (const Override& override : changes_) apply(override, result_.tree);
    resolve_interpolations(result_.tree);
    return std::move(result_);
  }

  fs::path find_file(const std::string& name, const std::string& group) const {
    std::error_code error;
    for (const fs::path& folder : folders_) {
      const fs::path path = file_of(folder / group, name);
      if (fs::is_regular_file(path, error)) return path;
    }
    return {};
  }

  [[noreturn]] void refuse_unknown(const std::string& name, const std::string& group) const {
    const std::vector<std::string> names = names_in(folders_, group);
    std::vector<std::string> searched;
    for (const fs::path& folder : folders_) searched.push_back((group.empty() ? folder : folder / group).string());
    const std::string what = group.empty() ? "configuration" : group;
    if (names.empty())
      throw UsageError(
          fmt::format("there is no {} '{}' (looked for in {})", what, printable(name), fmt::join(searched, ", ")));
    throw UsageError(fmt::format("there is no {} '{}'{}; there are {} (in {})", what, printable(name),
                                 nearest_name(name, names), fmt::join(names, ", "), fmt::join(searched, ", ")));
  }

  std::vector<fs::path> folders_;
  std::vector<Override> changes_;
  std::map<std::string, Choice> choices_;  // by group@package
  Configuration result_;
};

}  // namespace

std::vector<std::string> names_in(const std::vector<fs::path>& folders, const std::string& group) {
  std::set<std::string> names;
  for (const fs::path& folder : folders) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder / group, error)) {
      if (entry.path().extension() == ".yaml") names.insert(entry.path().stem().string());
    }
  }
  return {names.begin(), names.end()};
}

Configuration compose(const std::vector<fs::path>& folders, const std::string& name,
                      const std::vector<std::string>& overrides) {
  std::error_code error;
  const fs::path path(name);
  const bool by_path = path.has_parent_path() || fs::is_regular_file(path, error);
  if (!by_path) return Composer(folders, overrides).compose(name);
  std::vector<fs::path> own{path.has_parent_path() ? path.parent_path() : fs::path(".")};
  own.insert(own.end(), folders.begin(), folders.end());
  return Composer(own, overrides).compose(path.filename().string());
}

Configuration compose(const std::vector<fs::path>& folders, const Json& tree, const std::string& source,
                      const std::vector<std::string>& overrides) {
  return Composer(folders, overrides).compose(tree, source);
}

}  // namespace lshdp::explore
