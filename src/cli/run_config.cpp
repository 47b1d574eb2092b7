// Reads the file of lshdp run, with every key checked against the options of its command.
#include "run_config.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host_list.h"
#include "lshdp/cli/options.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/text.h"
#include "lshdp/explore/config.h"
#include "lshdp/explore/override.h"

namespace lshdp::cli {
namespace {

using Kind = Options::Kind;
/// Words by option or argument: several only for arguments that take several.
using Given = std::map<std::string, std::vector<std::string>>;

const std::vector<std::string> kKeys{"command", "options", "hosts", "mpirun", "environment"};
constexpr std::string_view kOptions = "options.", kEnvironment = "environment.";

bool is_one_of(const std::string& text, const std::vector<std::string>& words) {
  return std::ranges::find(words, text) != words.end();
}

[[noreturn]] void refuse_key(const std::string& file, const std::string& key, const std::string& problem) {
  throw UsageError(fmt::format("{}: {} {}", file, key, problem));
}

void require_known(const std::string& file, const Json& object, const std::vector<std::string>& known,
                   const std::string& prefix) {
  for (const auto& [name, value] : object.items()) {
    if (!is_one_of(name, known)) refuse_key(file, prefix + name, "is not known" + did_you_mean(name, known, prefix));
  }
}

/// The text that a scalar of an override's grammar stands for.
std::string text_of(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_number_float() ? fmt::format("{}", value.get<double>()) : json_text(value);
}

/// With text for every scalar but null, as the file is read.
Json as_written(const Json& value) {
  if (value.is_null()) return nullptr;
  if (!value.is_structured()) return text_of(value);
  Json result = value;
  for (Json& entry : result) entry = as_written(entry);
  return result;
}

/// One change of the command line.
struct Change {
  std::string text;  // as it was written
  std::string key;   // of an option without "options."
  bool removes = false;
  Json value = nullptr;
};

[[noreturn]] void refuse_change(const std::string& text, const std::string& problem) {
  throw UsageError(fmt::format("override {}: {}", text, problem));
}

/// What stands behind the equals sign. Lists, dictionaries and quoted text are of explore's grammar. Everything else is
/// taken as a command line has it: 8,8 needs no quotes.
Json value_of(const std::string& text, std::size_t begin) {
  const std::string written = text.substr(begin);
  if (written == "null") return nullptr;
  const bool plain = written.empty() || std::string_view("[{'\"").find(written.front()) == std::string_view::npos;
  if (plain) return written;
  return as_written(explore::parse_override(text).value.value_or(nullptr));
}

Change parse_change(const std::string& text) {
  const bool removes = text.starts_with('~');
  const std::size_t equal = text.find('=');
  if (removes != (equal == std::string::npos)) refuse_change(text, "write key=value, or ~key to leave a key out");
  Change change{.text = text, .key = removes ? text.substr(1) : text.substr(0, equal), .removes = removes};
  if (!removes) change.value = value_of(text, equal + 1);
  if (change.key.starts_with(kOptions)) change.key.erase(0, kOptions.size());
  return change;
}

void make(const Change& change, const std::string& key, Json& object) {
  if (change.removes)
    object.erase(key);
  else
    object[key] = change.value;
}

Json read_tree(const std::string& file) {
  Json tree = explore::parse_yaml(read_file(file), file, explore::Scalars::as_written);
  if (!tree.is_object()) throw UsageError(file + ": holds no keys; lshdp init-config writes a file to begin with");
  require_known(file, tree, kKeys, "");
  return tree;
}

const Command& command_of(const Json& tree, const std::string& file) {
  if (!tree.contains("command")) return described_command("train", file);
  if (!tree.at("command").is_string()) refuse_key(file, "command", "must be the name of a command");
  return described_command(tree.at("command").get<std::string>(), file + ": command");
}

/// Reads what is there once the command is known.
class Reader {
 public:
  Reader(const std::string& file, Json tree, const Command& command)
      : file_(file), tree_(std::move(tree)), command_(command), options_(command.options()) {}

  void apply(const Change& change) {
    if (change.key == "command") return;  // it has been asked for
    if (is_one_of(change.key, {"hosts", "mpirun", "environment"})) {
      make(change, change.key, tree_);
    } else if (change.key.starts_with(kEnvironment)) {
      make(change, change.key.substr(kEnvironment.size()), section("environment"));
    } else if (is_option(change.key)) {
      make(change, change.key, section("options"));
      changed_.insert(change.key);
    } else {
      std::vector<std::string> known = option_names();
      known.insert(known.end(), kKeys.begin(), kKeys.end());
      refuse_change(change.text, fmt::format("lshdp {} has no option {}{}", command_.name, change.key,
                                             did_you_mean(change.key, known)));
    }
  }

  RunConfig read() {
    RunConfig config{.command = &command_};
    config.hosts = read_hosts();
    config.mpirun = read_mpirun();
    config.environment = read_environment();
    Given given = read_options();
    add_options_of_hosts(config.hosts, given);
    config.arguments = arguments_of(given);
    config.log = given.contains("log") ? given.at("log").front() : options_.find("log")->otherwise;
    return config;
  }

 private:
  [[noreturn]] void refuse(const std::string& key, const std::string& problem) const {
    refuse_key(file_, key, problem);
  }

  bool is_option(const std::string& name) const { return name != "help" && options_.find(name) != nullptr; }

  std::vector<std::string> option_names() const {
    std::vector<std::string> names;
    for (const Options::Definition& definition : options_.definitions()) {
      if (is_option(definition.name)) names.push_back(definition.name);
    }
    return names;
  }

  /// The dictionary of a key, empty where nothing stands there.
  Json& section(const std::string& key) {
    Json& value = tree_[key];
    if (value.is_null()) value = Json::object();
    if (!value.is_object()) refuse(key, "must be a dictionary: a line KEY: VALUE for each");
    return value;
  }

  /// `wanted` says what is to stand for FILL-IN.
  std::string scalar(const std::string& key, const Json& value, const std::string& wanted = "") const {
    if (value.is_null()) refuse(key, "has no value; give one, or leave the key out");
    if (!value.is_string()) refuse(key, "must be a value, or a list of values without lists or keys in it");
    const std::string text = value.get<std::string>();
    if (text == kFillIn) refuse(key, fmt::format("is still {}: replace it{}", kFillIn, wanted));
    return text;
  }

  /// What an option is given; nothing: a flag that is left out.
  std::vector<std::string> words_of(const Options::Definition& definition, const Json& value) const {
    const std::string key = std::string(kOptions) + definition.name;
    if (definition.kind == Kind::flag) {
      if (value != "true" && value != "false") refuse(key, "takes no value: write true, or false to leave it out");
      return value == "true" ? std::vector<std::string>{"true"} : std::vector<std::string>();
    }
    const std::string by = definition.placeholder.empty() ? "" : definition.placeholder + ", ";
    const std::string wanted = fmt::format(" by {}{}", by, definition.help);
    if (!value.is_array()) return {scalar(key, value, wanted)};
    if (value.empty()) refuse(key, "is an empty list; give a value, or leave the key out");
    std::vector<std::string> words;
    for (const Json& entry : value) words.push_back(scalar(key, entry, wanted));
    return options_.takes_several(definition) ? words : std::vector{fmt::format("{}", fmt::join(words, ","))};
  }

  Given read_options() {
    Given given;
    for (const auto& [name, value] : section("options").items()) {
      if (!is_option(name)) {
        refuse(std::string(kOptions) + name,
               fmt::format("is no option of lshdp {}{}", command_.name, did_you_mean(name, option_names(), kOptions)));
      }
      std::vector<std::string> words = words_of(*options_.find(name), value);
      if (!words.empty()) given[name] = std::move(words);
    }
    return given;
  }

  RunHost one_host(const std::string& text, const std::string& key) const {
    const std::vector<HostRanks> hosts = parse_host_list(text, fmt::format("{}: {}", file_, key));
    if (hosts.size() != 1) refuse(key, "must be one host");
    return {.name = hosts.front().name, .ranks = hosts.front().ranks};
  }

  RunHost read_host(const Json& entry, const std::string& key) const {
    if (!entry.is_object()) return one_host(scalar(key, entry), key);
    std::vector<std::string> known{"host", "ranks"};
    for (const std::string& name : option_names()) {
      if (options_.is_per_rank(name)) known.push_back(name);
    }
    require_known(file_, entry, known, key + '.');
    if (!entry.contains("host")) refuse(key, "does not name its host: write {host: NAME, ranks: N}");
    const std::string ranks = entry.contains("ranks") ? scalar(key + ".ranks", entry.at("ranks")) : "1";
    RunHost host = one_host(fmt::format("{}:{}", scalar(key + ".host", entry.at("host")), ranks), key);
    for (const auto& [name, value] : entry.items()) {
      if (name == "host" || name == "ranks" || changed_.contains(name)) continue;
      const std::string text = scalar(key + '.' + name, value);
      if (text.find(',') != std::string::npos) refuse(key + '.' + name, "must be one value, for all ranks of the host");
      host.options[name] = text;
    }
    return host;
  }

  std::vector<RunHost> read_hosts() const {
    std::vector<RunHost> hosts;
    if (!tree_.contains("hosts")) return hosts;
    const Json& list = tree_.at("hosts");
    if (!command_.uses_mpi) refuse("hosts", fmt::format("must be left out: {} runs in one process", command_.name));
    if (list.is_string()) {
      for (const HostRanks& host : parse_host_list(scalar("hosts", list), file_ + ": hosts"))
        hosts.push_back({.name = host.name, .ranks = host.ranks});
    } else if (list.is_array() && !list.empty()) {
      for (const Json& entry : list) hosts.push_back(read_host(entry, fmt::format("hosts[{}]", hosts.size())));
    } else {
      refuse("hosts", "must be a list, in the order of ranks: NAME, or {host: NAME, ranks: N}");
    }
    require_order(hosts);
    return hosts;
  }

  /// mpirun puts the ranks of one host together, and localhost is another machine on each.
  void require_order(const std::vector<RunHost>& hosts) const {
    std::set<std::string> names;
    std::string last;
    for (const RunHost& host : hosts) {
      if (host.name != last && !names.insert(host.name).second)
        refuse("hosts",
               fmt::format("names {0} twice, with others between; put the entries of {0} together", host.name));
      last = host.name;
    }
    if (names.size() > 1 && names.contains("localhost"))
      refuse("hosts", "has localhost beside others, which is another machine on each; write its name");
  }

  std::vector<std::string> read_mpirun() const {
    std::vector<std::string> arguments;
    if (!tree_.contains("mpirun") || tree_.at("mpirun").is_null()) return arguments;
    const Json& list = tree_.at("mpirun");
    if (!list.is_array()) refuse("mpirun", "must be a list of arguments: [--mca, btl_tcp_if_include, eth0]");
    for (const Json& entry : list) arguments.push_back(scalar("mpirun", entry));
    for (const std::string taken : {"-n", "-np", "--np", "-H", "-host", "--host", "-hostfile", "--hostfile"}) {
      if (is_one_of(taken, arguments)) refuse("mpirun", fmt::format("has {}, which follows from hosts", taken));
    }
    return arguments;
  }

  std::map<std::string, std::string> read_environment() {
    std::map<std::string, std::string> variables;
    for (const auto& [name, value] : section("environment").items()) {
      const std::string key = std::string(kEnvironment) + name;
      const bool is_name = !name.empty() && name.find_first_of("= \t\n") == std::string::npos;
      if (!is_name) refuse(key, "is no name of a variable");
      variables[name] = scalar(key, value);
    }
    return variables;
  }

  /// What stands at the hosts becomes a list over ranks.
  void add_options_of_hosts(const std::vector<RunHost>& hosts, Given& given) const {
    std::set<std::string> names;
    for (const RunHost& host : hosts) {
      for (const auto& [name, value] : host.options) names.insert(name);
    }
    for (const std::string& name : names) {
      std::vector<std::string> values, lacking;
      for (const RunHost& host : hosts) {
        const auto found = host.options.find(name);
        if (found == host.options.end())
          lacking.push_back(host.name);
        else
          values.insert(values.end(), static_cast<std::size_t>(host.ranks), found->second);
      }
      if (!lacking.empty())
        refuse("hosts", fmt::format("has {} for some hosts, but not for {}", name, fmt::join(lacking, ", ")));
      if (given.contains(name)) refuse(std::string(kOptions) + name, "stands at the hosts as well; keep one of them");
      given[name] = {fmt::format("{}", fmt::join(values, ","))};
    }
  }

  /// As a command line that is read in one way only.
  Arguments arguments_of(const Given& given) const {
    Arguments arguments{command_.name}, words;
    for (const Options::Definition& definition : options_.definitions()) {
      const auto found = given.find(definition.name);
      if (found == given.end()) continue;
      const std::string name = "--" + definition.name;
      const std::string& first = found->second.front();
      if (options_.is_positional(definition)) {
        words.insert(words.end(), found->second.begin(), found->second.end());
      } else if (definition.kind == Kind::flag) {
        arguments.push_back(name);
      } else if (first.starts_with("--")) {
        arguments.push_back(name + '=' + first);
      } else {
        arguments.push_back(name);
        arguments.push_back(first);
      }
    }
    if (!words.empty()) arguments.emplace_back("--");
    arguments.insert(arguments.end(), words.begin(), words.end());
    return arguments;
  }

  const std::string& file_;
  Json tree_;
  const Command& command_;
  Options options_;
  std::set<std::string> changed_;  // options of the command line, which count more than those of hosts
};

}  // namespace

const Command& described_command(const std::string& name, const std::string& what) {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    if (command.options == nullptr || !command.in_files) continue;
    if (command.name == name) return command;
    names.push_back(command.name);
  }
  throw UsageError(fmt::format("{}: '{}' is no command whose options a file can give; choose from {}{}", what, name,
                               fmt::join(names, ", "), did_you_mean(name, names)));
}

RunConfig read_run_config(const std::string& file, const std::vector<std::string>& overrides) {
  Json tree = read_tree(file);
  std::vector<Change> changes;
  for (const std::string& text : overrides) changes.push_back(parse_change(text));
  for (const Change& change : changes) {
    if (change.key == "command") make(change, change.key, tree);
  }
  Reader reader(file, tree, command_of(tree, file));
  for (const Change& change : changes) reader.apply(change);
  return reader.read();
}

}  // namespace lshdp::cli
