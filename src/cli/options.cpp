// Options over cxxopts, which splits the command line; what it leaves open (strictness, messages, ranges) is here.
#include "lshdp/cli/options.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>

// cxxopts' own splitter takes a newline in a value for the end of an option.
#define CXXOPTS_NO_REGEX
#include <cxxopts.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/cli/launch.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/output.h"
#include "lshdp/core/text.h"

namespace lshdp::cli {
namespace {

std::string dashed(const std::string& name) { return "--" + name; }

template <typename T>
T in_range(T value, T minimum, T maximum, const std::string& name) {
  if (value < minimum)
    throw UsageError(fmt::format("{}: {} is too small; the least is {}", dashed(name), value, minimum));
  if (value > maximum)
    throw UsageError(fmt::format("{}: {} is too large; the most is {}", dashed(name), value, maximum));
  return value;
}

/// Seconds of "90s", "10min" or "2h"; none of what is no such time, or not above 0.
std::optional<double> seconds_in(const std::string& text, const std::string& name) {
  constexpr std::pair<std::string_view, double> units[] = {{"min", 60}, {"s", 1}, {"h", 3600}};
  for (const auto& [unit, seconds] : units) {
    if (!text.ends_with(unit)) continue;
    try {
      const double count = parse_double(text.substr(0, text.size() - unit.size()), name) * seconds;
      return count > 0 && std::isfinite(count) ? std::optional(count) : std::nullopt;
    } catch (const UsageError&) {
      return std::nullopt;
    }
  }
  return std::nullopt;
}

std::string text_of(std::int64_t number) { return std::to_string(number); }
std::string text_of(double number) { return fmt::format("{}", number); }
template <typename T>
std::string text_of(const std::vector<T>& numbers) {
  return fmt::format("{}", fmt::join(numbers, ","));
}

}  // namespace

Values::Values(bool help, std::map<std::string, std::vector<std::string>> given)
    : help_(help), given_(std::move(given)) {}

bool Values::has(const std::string& name) const { return given_.contains(name); }
bool Values::flag(const std::string& name) const { return has(name); }

const std::vector<std::string>& Values::texts(const std::string& name) const {
  const auto found = given_.find(name);
  if (found == given_.end()) throw std::logic_error("option --" + name + " was read without a value");
  return found->second;
}

const std::string& Values::text(const std::string& name) const { return texts(name).front(); }

nlohmann::json Values::to_json() const {
  Json json = Json::object();
  for (const auto& [name, values] : given_) json[name] = values.size() == 1 ? Json(values.front()) : Json(values);
  return json;
}

const std::string& Values::choice(const std::string& name, std::initializer_list<std::string_view> allowed) const {
  const std::string& value = text(name);
  if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return value;
  throw UsageError(fmt::format("{}: '{}' is not known; choose from {}{}", dashed(name), value, fmt::join(allowed, ", "),
                               did_you_mean(value, {allowed.begin(), allowed.end()})));
}

template <typename T>
T Values::noted(const std::string& name, T value) const {
  read_[name] = text_of(value);
  return value;
}

nlohmann::json Values::as_read() const {
  Json json = to_json();
  for (const auto& [name, text] : read_) json[name] = text;
  return json;
}

std::int64_t Values::integer(const std::string& name, std::int64_t minimum, std::int64_t maximum) const {
  return noted(name, in_range(parse_int(text(name), dashed(name)), minimum, maximum, name));
}

double Values::real(const std::string& name, double minimum, double maximum) const {
  return noted(name, in_range(parse_double(text(name), dashed(name)), minimum, maximum, name));
}

std::int64_t Values::size(const std::string& name) const {
  const std::int64_t bytes = parse_size(text(name), dashed(name));
  read_[name] = text_of(bytes) + " bytes";
  return bytes;
}

std::variant<std::int64_t, double> Values::count_or_seconds(const std::string& name) const {
  const std::string& given = text(name);
  if (const std::optional<double> seconds = seconds_in(given, dashed(name))) {
    read_[name] = text_of(*seconds) + " s";
    return *seconds;
  }
  if (given.find_first_not_of("-0123456789 ") == std::string::npos) return integer(name, 0);
  throw UsageError(fmt::format("{}: '{}' is neither a whole number nor a time above 0 such as 90s, 10min or 2h",
                               dashed(name), given));
}

std::vector<std::int64_t> Values::integers(const std::string& name, std::int64_t minimum) const {
  auto values = parse_int_list(text(name), dashed(name));
  for (const auto value : values) in_range(value, minimum, std::numeric_limits<std::int64_t>::max(), name);
  return noted(name, std::move(values));
}

std::vector<double> Values::reals(const std::string& name, double minimum, double maximum) const {
  auto values = parse_double_list(text(name), dashed(name));
  for (const auto value : values) in_range(value, minimum, maximum, name);
  return noted(name, std::move(values));
}

std::vector<std::int64_t> Values::sizes(const std::string& name) const {
  auto values = parse_size_list(text(name), dashed(name));
  read_[name] = text_of(values) + " bytes";
  return values;
}

Options::Options(std::string command, std::string summary, std::string example)
    : command_(std::move(command)), summary_(std::move(summary)), example_(std::move(example)) {
  flag("help", "print this help");
  option("log", "LEVEL", "what rank 0 says on stderr: debug, info, warn or off", "info");
}

Options& Options::flag(const std::string& name, const std::string& help) {
  return add({Kind::flag, name, "", help, "", false});
}
Options& Options::option(const std::string& name, const std::string& placeholder, const std::string& help) {
  return add({Kind::option, name, placeholder, help, "", false});
}
Options& Options::option(const std::string& name, const std::string& placeholder, const std::string& help,
                         const std::string& otherwise) {
  return add({Kind::option, name, placeholder, help, otherwise, true});
}
Options& Options::required(const std::string& name, const std::string& placeholder, const std::string& help) {
  return add({Kind::required, name, placeholder, help, "", false});
}
Options& Options::positional(const std::string& name, const std::string& help) {
  return add({Kind::positional, name, "", help, "", false});
}
Options& Options::positionals(const std::string& name, const std::string& help) {
  return add({Kind::positionals, name, "", help, "", false});
}
Options& Options::optional_positionals(const std::string& name, const std::string& help) {
  return add({Kind::optional_positionals, name, "", help, "", false});
}

Options& Options::needs(const std::string& option, std::vector<std::string> others) {
  needs_.emplace_back(option, std::move(others));
  return *this;
}
Options& Options::excludes(const std::string& one, const std::string& other) {
  excludes_.emplace_back(one, other);
  return *this;
}

Options& Options::one_of(std::vector<std::string> names) {
  alternatives_.push_back(std::move(names));
  return *this;
}
Options& Options::per_rank(const std::vector<std::string>& names) {
  per_rank_.insert(names.begin(), names.end());
  return *this;
}

Options& Options::add(Definition definition) {
  if (find(definition.name) != nullptr) throw std::logic_error("option --" + definition.name + " is defined twice");
  definitions_.push_back(std::move(definition));
  return *this;
}

const Options::Definition* Options::find(std::string_view name) const {
  const auto found =
      std::find_if(definitions_.begin(), definitions_.end(), [&](const auto& d) { return d.name == name; });
  return found == definitions_.end() ? nullptr : &*found;
}

bool Options::is_positional(const Definition& definition) const {
  return definition.kind == Kind::positional || takes_several(definition);
}

bool Options::takes_several(const Definition& definition) const {
  return definition.kind == Kind::positionals || definition.kind == Kind::optional_positionals;
}

void Options::refuse(const std::string& problem) const {
  throw UsageError(fmt::format("{}; see lshdp {} --help", problem, command_));
}

// The option that `argument` names, with or without "=value".
const Options::Definition* Options::option_of(std::string_view argument) const {
  if (!argument.starts_with("--")) return nullptr;
  const Definition* definition = find(argument.substr(2, argument.find('=') - 2));
  return definition == nullptr || is_positional(*definition) ? nullptr : definition;
}

// cxxopts would take the next option for the value of the one before it. What holds a blank is no option.
bool Options::may_be_value(const std::string& argument) const {
  return !argument.starts_with("--") ||
         (argument.find_first_of(" \t\n") != std::string::npos && option_of(argument) == nullptr);
}

// Every option as "--name=value", which can be read in one way only, without what stands behind "--". Of one dash there
// is only -h; the first other one goes to `unknown`, since cxxopts would read "-steps" letter by letter.
Arguments Options::joined(const Arguments& arguments, std::string& unknown) const {
  Arguments result{arguments.front()};
  for (std::size_t i = 1; i < arguments.size() && arguments[i] != "--"; ++i) {
    if (arguments[i].starts_with('-') && !arguments[i].starts_with("--") && arguments[i] != "-h") {
      if (unknown.empty()) unknown = arguments[i];
      continue;
    }
    const Definition* definition = option_of(arguments[i]);
    const bool takes_next =
        definition != nullptr && definition->kind != Kind::flag && arguments[i].find('=') == std::string::npos;
    result.push_back(arguments[i]);
    if (!takes_next) continue;
    if (i + 1 == arguments.size() || !may_be_value(arguments[i + 1])) {
      refuse(fmt::format("{0} needs a value ({1}); one that begins with -- is given as {0}=--..", arguments[i],
                         definition->placeholder));
    }
    result.back() += '=' + arguments[++i];
  }
  return result;
}

void Options::refuse_unknown(const std::string& argument) const {
  const std::string name = argument.substr(0, argument.find('='));
  std::vector<std::string> known;
  for (const Definition& definition : definitions_) {
    if (!is_positional(definition)) known.push_back(definition.name);
  }
  const std::size_t dashes = std::min(name.find_first_not_of('-'), name.size());
  refuse(fmt::format("unknown option '{}'{}", name, did_you_mean(name.substr(dashes), known, "--")));
}

// `words` are positional arguments in their order.
void Options::place_positionals(const std::vector<std::string>& words, Given& given) const {
  auto word = words.begin();
  for (const Definition& definition : definitions_) {
    if (definition.kind == Kind::positional && word != words.end()) given[definition.name] = {*word++};
  }
  for (const Definition& definition : definitions_) {
    if (takes_several(definition) && word != words.end()) {
      given[definition.name].assign(word, words.end());
      word = words.end();
    }
  }
  if (word != words.end()) refuse(fmt::format("unexpected argument '{}'", *word));
}

void Options::check_relations(const Given& given) const {
  for (const auto& [option, others] : needs_) {
    const bool has_one = std::ranges::any_of(others, [&](const std::string& other) { return given.contains(other); });
    if (given.contains(option) && !has_one) refuse(fmt::format("--{} needs --{}", option, fmt::join(others, " or --")));
  }
  for (const auto& [one, other] : excludes_) {
    if (given.contains(one) && given.contains(other))
      refuse(fmt::format("--{} and --{} exclude each other", one, other));
  }
}

void Options::check_alternatives(const Given& given) const {
  for (const std::vector<std::string>& names : alternatives_) {
    if (std::ranges::none_of(names, [&](const std::string& name) { return given.contains(name); }))
      refuse(fmt::format("give either --{}", fmt::join(names, " or --")));
  }
}

void Options::complete(Given& given) const {
  check_relations(given);
  for (const Definition& definition : definitions_) {
    const auto found = given.find(definition.name);
    const std::string shown = (is_positional(definition) ? "argument " : "--") + definition.name;
    if (found != given.end()) {
      if (!takes_several(definition) && found->second.size() > 1) refuse(shown + " is given twice");
      if (definition.kind == Kind::flag && found->second.front() != "true") refuse(shown + " takes no value");
      if (std::ranges::any_of(found->second, &std::string::empty))
        refuse(shown + " has an empty value (an unset variable?); give one, or leave it out");
    } else if (definition.has_default) {
      given[definition.name] = {definition.otherwise};
    } else if (definition.kind == Kind::required) {
      refuse(fmt::format("{} {} is missing", shown, definition.placeholder));
    } else if (is_positional(definition) && definition.kind != Kind::optional_positionals) {
      refuse(fmt::format("{} is missing ({})", shown, definition.help));
    }
  }
  check_alternatives(given);
}

Options::Given Options::split(const Arguments& arguments) const {
  cxxopts::Options parser("lshdp " + command_);
  parser.allow_unrecognised_options();
  for (const Definition& definition : definitions_) {
    if (is_positional(definition)) continue;
    const std::string name = definition.name == "help" ? "h,help" : definition.name;
    if (definition.kind == Kind::flag)
      parser.add_options()(name, definition.help);
    else
      parser.add_options()(name, definition.help, cxxopts::value<std::string>());
  }

  std::string unknown;
  const Arguments options = joined(arguments, unknown);
  std::vector<const char*> argv;
  for (const std::string& argument : options) argv.push_back(argument.c_str());
  Given given;
  std::vector<std::string> words;
  try {
    const auto result = parser.parse(static_cast<int>(argv.size()), argv.data());
    for (const auto& argument : result.arguments()) given[argument.key()].push_back(argument.value());
    words = result.unmatched();
  } catch (const cxxopts::exceptions::exception&) {
    refuse("the options cannot be read");
  }
  if (given.contains("help")) return given;
  const auto other = std::ranges::find_if(words, [](const std::string& word) { return word.starts_with('-'); });
  if (other != words.end()) refuse_unknown(*other);
  if (!unknown.empty()) refuse_unknown(unknown);
  const auto end = std::ranges::find(arguments, "--");
  if (end != arguments.end()) words.insert(words.end(), end + 1, arguments.end());
  place_positionals(words, given);
  return given;
}

Values Options::parse(const Arguments& arguments) const {
  Given given = split(arguments);
  if (given.contains("help")) {
    if (launch_rank() == 0) print_output(help());
    return {true, {}};
  }
  complete(given);
  configure_log(given.at("log").front(), launch_rank());
  return {false, std::move(given)};
}

std::string Options::usage() const {
  std::string usage = "lshdp " + command_;
  for (const Definition& d : definitions_) {
    if (d.kind == Kind::optional_positionals)
      usage += " [" + d.name + "...]";
    else if (is_positional(d))
      usage += " " + d.name + (takes_several(d) ? "..." : "");
    if (d.kind == Kind::required) usage += " --" + d.name + " " + d.placeholder;
  }
  return usage + " [options]";
}

std::string Options::help() const {
  Table table({"Options", ""});
  for (const Definition& d : definitions_) {
    const std::string name =
        is_positional(d) ? "  " + d.name : "  --" + d.name + (d.placeholder.empty() ? "" : " " + d.placeholder);
    table.add({name, d.help + (d.has_default ? " (default: " + d.otherwise + ")" : "")});
  }
  return fmt::format("{}\n\nUsage: {}\n\n{}\nExample:\n  {}\n", summary_, usage(), table.to_string(), example_);
}

}  // namespace lshdp::cli
