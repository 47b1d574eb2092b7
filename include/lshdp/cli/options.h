// The options of a command: defined once with their help, parsed strictly, read as checked values.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "lshdp/cli/command.h"

namespace lshdp::cli {

/// What a command line gave. A getter throws UsageError naming the option if its value is not of the kind asked for,
/// and std::logic_error if the option has no value at all (not given and without default: ask has() first).
class Values {
 public:
  Values(bool help, std::map<std::string, std::vector<std::string>> given);

  /// True if --help was asked for and has been printed: the command returns 0.
  bool help() const { return help_; }
  /// True if the option was given or has a default.
  bool has(const std::string& name) const;
  /// True if the flag was given.
  bool flag(const std::string& name) const;

  const std::string& text(const std::string& name) const;
  /// The text, which must be one of `allowed`.
  const std::string& choice(const std::string& name, std::initializer_list<std::string_view> allowed) const;
  std::int64_t integer(const std::string& name, std::int64_t minimum = std::numeric_limits<std::int64_t>::min(),
                       std::int64_t maximum = std::numeric_limits<std::int64_t>::max()) const;
  double real(const std::string& name, double minimum = std::numeric_limits<double>::lowest(),
              double maximum = std::numeric_limits<double>::max()) const;
  /// Bytes, of "2GiB".
  std::int64_t size(const std::string& name) const;
  /// A whole number, or a time above 0 with its unit: seconds of "90s", "10min" or "2h".
  std::variant<std::int64_t, double> count_or_seconds(const std::string& name) const;

  /// Lists with commas, never empty.
  std::vector<std::int64_t> integers(const std::string& name,
                                     std::int64_t minimum = std::numeric_limits<std::int64_t>::min()) const;
  std::vector<double> reals(const std::string& name, double minimum = std::numeric_limits<double>::lowest(),
                            double maximum = std::numeric_limits<double>::max()) const;
  std::vector<std::int64_t> sizes(const std::string& name) const;

  /// Every value of a repeated positional argument.
  const std::vector<std::string>& texts(const std::string& name) const;

  /// Every option by name with its text, as given or by default; a list where an argument was repeated, "true" for a
  /// flag. Options without a value are left out. Two command lines that ask for the same give the same.
  nlohmann::json to_json() const;
  /// The same, but what a getter has read as numbers stands there as these: "0.001" where 1e-3 was given. So options
  /// that say the same are the same, however they were written.
  nlohmann::json as_read() const;

 private:
  template <typename T>
  T noted(const std::string& name, T value) const;

  bool help_;
  std::map<std::string, std::vector<std::string>> given_;
  mutable std::map<std::string, std::string> read_;  // what numbers say, by option
};

/// The definition of a command's options. `--help` and `--log LEVEL` belong to every command.
///
///   const Values values = Options("optimize", "Splits a step over unequal ranks", "lshdp optimize profile.json --out
///   b.json")
///                             .positional("profile", "the profile that `lshdp profile` wrote")
///                             .option("total", "B", "samples a step")
///                             .required("out", "FILE", "where to write the plan")
///                             .parse(arguments);
///   if (values.help()) return 0;
class Options {
 public:
  enum class Kind : std::uint8_t { flag, option, required, positional, positionals, optional_positionals };
  struct Definition {
    Kind kind;
    std::string name, placeholder, help, otherwise;
    bool has_default = false;
  };

  /// `command` as it is typed after lshdp ("data idx"), `summary` one line, `example` a command line that works.
  Options(std::string command, std::string summary, std::string example);

  Options& flag(const std::string& name, const std::string& help);
  /// An option that may be absent.
  Options& option(const std::string& name, const std::string& placeholder, const std::string& help);
  /// An option with a default.
  Options& option(const std::string& name, const std::string& placeholder, const std::string& help,
                  const std::string& otherwise);
  /// An option that must be given.
  Options& required(const std::string& name, const std::string& placeholder, const std::string& help);
  /// A positional argument that must be given; they are taken in the order of definition.
  Options& positional(const std::string& name, const std::string& help);
  /// One or more positional arguments, after all others.
  Options& positionals(const std::string& name, const std::string& help);
  /// The same, of which there may be none: ask has().
  Options& optional_positionals(const std::string& name, const std::string& help);

  /// `option` may only be given with one of `others`, which gives it its sense; a default does not count as given.
  Options& needs(const std::string& option, std::vector<std::string> others);
  /// At most one of the two may be given.
  Options& excludes(const std::string& one, const std::string& other);
  /// At least one of `names` must be given; what comes first serves most.
  Options& one_of(std::vector<std::string> names);
  /// Options that take one value for all ranks, or a list with one for each.
  Options& per_rank(const std::vector<std::string>& names);

  /// Parses, and sets up the log at --log's level. With --help or -h, prints the help on standard output of rank 0.
  /// What stands behind "--" is taken as positional arguments. Throws UsageError naming the option: unknown (with the
  /// nearest name), without its value or with an empty one, given twice, required but missing, surplus argument.
  Values parse(const Arguments& arguments) const;
  /// What --help prints.
  std::string help() const;
  /// "lshdp optimize profile --out FILE [options]"
  std::string usage() const;
  /// As the constructor has them.
  const std::string& command() const { return command_; }
  const std::string& summary() const { return summary_; }
  const std::string& example() const { return example_; }

  /// Everything that is defined, in the order of the help: --help and --log first.
  const std::vector<Definition>& definitions() const { return definitions_; }
  const Definition* find(std::string_view name) const;
  bool is_positional(const Definition& definition) const;
  bool takes_several(const Definition& definition) const;
  /// What one_of() and per_rank() said.
  const std::vector<std::vector<std::string>>& alternatives() const { return alternatives_; }
  bool is_per_rank(const std::string& name) const { return per_rank_.contains(name); }

 private:
  using Given = std::map<std::string, std::vector<std::string>>;
  Options& add(Definition definition);
  [[noreturn]] void refuse(const std::string& problem) const;
  [[noreturn]] void refuse_unknown(const std::string& argument) const;
  const Definition* option_of(std::string_view argument) const;
  bool may_be_value(const std::string& argument) const;
  Arguments joined(const Arguments& arguments, std::string& unknown) const;
  void place_positionals(const std::vector<std::string>& words, Given& given) const;
  Given split(const Arguments& arguments) const;
  void check_relations(const Given& given) const;
  void check_alternatives(const Given& given) const;
  void complete(Given& given) const;  // defaults for what is absent; refuses what may not be

  std::string command_, summary_, example_;
  std::vector<Definition> definitions_;
  std::vector<std::pair<std::string, std::vector<std::string>>> needs_;
  std::vector<std::pair<std::string, std::string>> excludes_;
  std::vector<std::vector<std::string>> alternatives_;
  std::set<std::string> per_rank_;
};

}  // namespace lshdp::cli
