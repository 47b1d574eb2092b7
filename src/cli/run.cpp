// lshdp run: the command of a file, on this machine or by mpirun on the hosts of the file.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "lshdp/cli/launch.h"
#include "lshdp/cli/options.h"
#include "lshdp/core/error.h"
#include "lshdp/core/host.h"
#include "lshdp/core/log.h"
#include "lshdp/core/output.h"
#include "run_config.h"
#include "separate_starts.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

}  // namespace

Options run_options() {
  Options options("run", "Runs the command that a file describes: its options, and the hosts that mpirun starts it on.",
                  "lshdp run vit.yaml steps=100 results=runs/second");
  options.positional("file", "a YAML file as `lshdp init-config` writes it, the same on every machine")
      .optional_positionals("override", "changes of it: key=value, such as steps=100, or ~key to leave one out");
  return options;
}

namespace {

bool contains_any(const std::vector<std::string>& words, std::initializer_list<std::string_view> wanted) {
  return std::any_of(wanted.begin(), wanted.end(),
                     [&](std::string_view word) { return std::find(words.begin(), words.end(), word) != words.end(); });
}

void add(std::vector<std::string>& line, const std::string& option, const std::string& value) {
  line.push_back(option);
  line.push_back(value);
}

/// Words as a shell takes them.
std::string shell_text(const std::vector<std::string>& words) {
  constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%";
  std::vector<std::string> shown;
  for (const std::string& word : words) {
    std::string quoted = word;
    for (std::size_t at = 0; (at = quoted.find('\'', at)) != std::string::npos; at += 4) quoted.replace(at, 1, "'\\''");
    const bool is_plain = !word.empty() && word.find_first_not_of(plain) == std::string::npos;
    shown.push_back(is_plain ? word : '\'' + quoted + '\'');
  }
  return fmt::format("{}", fmt::join(shown, " "));
}

std::string short_name(const std::string& name) { return name.substr(0, name.find('.')); }

/// By its full name, or by the short one where either is short.
bool is_this_host(const std::string& name) {
  const std::string here = host_name();
  const bool both_full = name.find('.') != std::string::npos && here.find('.') != std::string::npos;
  return name == "localhost" || name == here || (!both_full && short_name(name) == short_name(here));
}

/// True for a rank, which mpirun or another launcher has started.
bool is_rank() {
  return number_in("OMPI_COMM_WORLD_RANK") || number_in("PMIX_RANK") || number_in("PMI_RANK") || other_launcher();
}

std::int64_t ranks_of_launcher() {
  const auto launcher = other_launcher();
  return launcher ? launcher->processes : ranks_of_mpirun();
}

/// This program as it is started on every host: in a bundle by its launcher, which finds the libraries there.
std::string program_to_start() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error) throw RunError("cannot tell where this program lies: " + error.message());
  const fs::path folder = program.parent_path(), launcher = folder.parent_path() / "bin" / program.filename();
  const bool bundled = folder.filename() == "libexec" && fs::exists(launcher, error);
  return (bundled ? launcher : program).string();
}

/// "a:1,b:2", and how many ranks that are.
std::pair<std::string, std::int64_t> slots_of(const std::vector<RunHost>& hosts) {
  std::string text;
  std::int64_t all = 0;
  for (std::size_t at = 0; at < hosts.size();) {
    const std::string& name = hosts[at].name;
    std::int64_t ranks = 0;
    for (; at < hosts.size() && hosts[at].name == name; ++at) ranks += hosts[at].ranks;
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", name, ranks);
    all += ranks;
  }
  return {text, all};
}

/// The command line of mpirun: ranks in the order of hosts, each free to use all cores of its host.
std::vector<std::string> mpirun_of(const RunConfig& config, const Arguments& arguments) {
  const auto [slots, ranks] = slots_of(config.hosts);
  std::vector<std::string> line{"mpirun", "-np", std::to_string(ranks), "--host", slots};
  if (!contains_any(config.mpirun, {"--map-by", "-map-by", "--rank-by", "-rank-by", "--rankfile", "-rankfile", "-rf"}))
    add(line, "--map-by", "slot");
  if (!contains_any(config.mpirun, {"--bind-to", "-bind-to"})) add(line, "--bind-to", "none");
  for (const auto& [name, value] : config.environment) {
    add(line, "-x", name + '=' + value);
  }
  line.insert(line.end(), config.mpirun.begin(), config.mpirun.end());
  line.push_back(program_to_start());
  line.insert(line.end(), arguments.begin(), arguments.end());
  return line;
}

/// Goes on as the program line[0] of PATH.
[[noreturn]] void become(std::vector<std::string> line) {
  std::vector<char*> pointers;
  for (std::string& word : line) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  std::signal(SIGPIPE, SIG_DFL);  // main's choice is not the other program's
  ::execvp(pointers[0], pointers.data());
  const int error = errno;
  std::signal(SIGPIPE, SIG_IGN);
  throw RunError(fmt::format("cannot start {}: {}; Open MPI's must be in PATH", line[0], std::strerror(error)));
}

/// The same command is given on every host: the first starts all ranks.
int start_ranks(const RunConfig& config, const std::string& file, const Arguments& arguments) {
  const std::string& first = config.hosts.front().name;
  if (is_this_host(first)) {
    const std::vector<std::string> line = mpirun_of(config, arguments);
    spdlog::info("{}", shell_text(line));
    become(line);
  }
  std::vector<std::string> names;
  for (const RunHost& host : config.hosts) names.push_back(host.name);
  if (std::ranges::none_of(names, is_this_host)) {
    throw UsageError(fmt::format("{}: hosts has {}, but this machine is {}; start it on one of them", file,
                                 fmt::join(names, ", "), host_name()));
  }
  print_output("{} starts the ranks of this machine ({})\n", first, host_name());
  return 0;
}

void require_fitting(const RunConfig& config, const std::string& file) {
  const std::int64_t started = ranks_of_launcher(), wanted = slots_of(config.hosts).second;
  if (!config.hosts.empty() && started != wanted) {
    throw UsageError(
        fmt::format("{}: hosts has {} ranks, but {} were started; start it without mpirun, or change hosts", file,
                    wanted, started));
  }
  if (started > 1 && !config.command->uses_mpi)
    throw UsageError(fmt::format("{} runs in one process; start it without mpirun", config.command->name));
  if (is_rank() || (config.mpirun.empty() && config.environment.empty())) return;
  throw UsageError(file + ": mpirun and environment are for the ranks of hosts; add hosts, or leave them out");
}

/// What `values` asks for. A level that is given to run itself is the command's, too.
RunConfig config_of(const Values& values) {
  std::vector<std::string> overrides;
  if (values.has("override")) overrides = values.texts("override");
  const std::string& log = values.text("log");
  if (log != "info") overrides.push_back("log=" + log);
  return read_run_config(values.text("file"), overrides);
}

}  // namespace

int run_run(const Arguments& arguments) {
  const Values values = run_options().parse(arguments);
  if (values.help()) return 0;
  const RunConfig config = config_of(values);
  const std::string& file = values.text("file");
  configure_log(config.log, launch_rank());
  if (!is_rank() && !config.hosts.empty()) return start_ranks(config, file, arguments);
  require_fitting(config, file);
  spdlog::info("lshdp {}", shell_text(config.arguments));
  return config.command->run(config.arguments);
}

}  // namespace lshdp::cli
