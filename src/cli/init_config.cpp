// lshdp init-config: a file for lshdp run, with every option of a command.
#include <filesystem>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host_list.h"
#include "lshdp/cli/options.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/output.h"
#include "run_config.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;
using Kind = Options::Kind;

}  // namespace

Options init_config_options() {
  Options options("init-config",
                  "Writes a file for `lshdp run`: the hosts that it sees, and every option of a command.",
                  "lshdp init-config --hosts gpu1:1,gpu2:1 --out vit.yaml");
  options.option("command", "NAME", "the command that the file is for", "train")
      .option("out", "FILE.yaml", "where to write it (default: standard output)")
      .option("hosts", "HOSTS",
              "a hostfile of Open MPI, or hosts with their ranks, such as a:1,b:2 (default: those of Slurm or PBS, "
              "otherwise this machine)");
  return options;
}

namespace {

std::vector<HostRanks> hosts_of(const Values& values) {
  if (!values.has("hosts")) return hosts_of_environment();
  const std::string& text = values.text("hosts");
  std::error_code error;
  if (fs::is_regular_file(text, error)) return parse_hostfile(read_file(text), text);
  if (text.find_first_of(":,") == std::string::npos)
    throw UsageError(fmt::format("--hosts: there is no file {0}; write a host as {0}:1", text));
  return parse_host_list(text, "--hosts");
}

/// Text as YAML has it: in quotes where it might be read as something else.
std::string yaml_text(const std::string& text) {
  constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./";
  const bool is_plain =
      !text.empty() && text.front() != '-' && text != "null" && text.find_first_not_of(plain) == std::string::npos;
  return is_plain ? text : json_text(Json(text));
}

/// The other options of the group of which at least one must be given; none: it is in no such group, or not its first.
std::vector<std::string> others_of(const Options& options, const std::string& name) {
  for (const std::vector<std::string>& names : options.alternatives()) {
    if (names.front() == name) return std::vector<std::string>(names.begin() + 1, names.end());
  }
  return {};
}

/// "  # steps: 100    # S: train this many steps"; without the first # where a value must be given.
std::string line_of(const Options& options, const Options::Definition& definition) {
  const std::vector<std::string> others = others_of(options, definition.name);
  const bool wanted = definition.kind == Kind::required || definition.kind == Kind::positional ||
                      definition.kind == Kind::positionals || !others.empty();
  std::string value = definition.has_default ? " " + yaml_text(definition.otherwise) : "";
  if (definition.kind == Kind::flag) value = " false";
  if (wanted) value = std::string(" ") + kFillIn;
  const std::string placeholder = definition.placeholder.empty() ? "" : definition.placeholder + ": ";
  const std::string instead = others.empty() ? "" : fmt::format("; or give {}", fmt::join(others, " or "));
  return fmt::format("  {}{}:{}    # {}{}{}\n", wanted ? "" : "# ", definition.name, value, placeholder,
                     definition.help, instead);
}

std::string text_of_hosts(const std::vector<HostRanks>& hosts, const Options& options) {
  std::vector<std::string> per_rank;
  for (const Options::Definition& definition : options.definitions()) {
    if (options.is_per_rank(definition.name)) per_rank.push_back(definition.name);
  }
  std::string text = "\n# In the order of ranks. The first one starts mpirun; without hosts, one process runs here.\n";
  if (!per_rank.empty())
    text += fmt::format("# An entry may say for its ranks, as every other then must: {}.\n", fmt::join(per_rank, ", "));
  text += "hosts:\n";
  for (const HostRanks& host : hosts)
    text += fmt::format("  - {{host: {}, ranks: {}}}\n", yaml_text(host.name), host.ranks);
  return text +
         "\n# Further arguments of mpirun, and variables that it gives to all ranks.\n"
         "# mpirun: [--mca, btl_tcp_if_include, eth0]\n"
         "# environment: {NCCL_DEBUG: WARN}\n";
}

std::string text_of(const Command& command, const std::vector<HostRanks>& hosts) {
  const Options options = command.options();
  std::string text = fmt::format(
      "# lshdp {}: start it with `lshdp run FILE [key=value ...]`, on every machine alike.\n"
      "# What begins with # has its default.\n"
      "command: {}\n",
      command.name, command.name);
  if (command.uses_mpi) text += text_of_hosts(hosts, options);
  text += "\noptions:\n";
  for (const Options::Definition& definition : options.definitions()) {
    if (definition.name != "help") text += line_of(options, definition);
  }
  return text;
}

void write_new(const fs::path& path, const std::string& text) {
  std::error_code error;
  if (fs::exists(path, error))
    throw UsageError(fmt::format("--out: {} is there already; choose another name", path.string()));
  const NewFolders folders = require_writable_file(path, "--out");
  write_file(path, text);
  print_output("written to {}; replace every {} in it, then: lshdp run {}\n", path.string(), kFillIn, path.string());
}

}  // namespace

int run_init_config(const Arguments& arguments) {
  const Values values = init_config_options().parse(arguments);
  if (values.help()) return 0;
  const Command& command = described_command(values.text("command"), "--command");
  if (values.has("hosts") && !command.uses_mpi)
    throw UsageError(fmt::format("--hosts: {} runs in one process; leave it out", command.name));
  const std::string text = text_of(command, command.uses_mpi ? hosts_of(values) : std::vector<HostRanks>());
  if (values.has("out"))
    write_new(values.text("out"), text);
  else
    print_output(text);
  return 0;
}

}  // namespace lshdp::cli
