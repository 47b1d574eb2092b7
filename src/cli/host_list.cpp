// Reads lists of hosts.
#include "host_list.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/host.h"
#include "lshdp/core/text.h"

namespace lshdp::cli {
namespace {

constexpr std::int64_t kMostRanks = 100'000;
constexpr std::int64_t kMostNumber = 1'000'000'000'000;  // in a host's name

bool is_host_name(std::string_view text) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_';
  };
  return !text.empty() && text.front() != '-' && std::ranges::all_of(text, fits);
}

std::string host_name_in(std::string_view text, const std::string& what) {
  if (!is_host_name(text)) throw UsageError(fmt::format("{}: '{}' is no name of a host", what, text));
  return std::string(text);
}

std::int64_t ranks_in(std::string_view text, const std::string& what) {
  const std::int64_t ranks = parse_int(text, what);
  if (ranks < 1 || ranks > kMostRanks)
    throw UsageError(fmt::format("{}: a host has 1 to {} ranks, not {}", what, kMostRanks, ranks));
  return ranks;
}

void add(std::vector<HostRanks>& hosts, HostRanks host) {
  const auto known = std::ranges::find(hosts, host.name, &HostRanks::name);
  if (known == hosts.end())
    hosts.push_back(std::move(host));
  else
    known->ranks += host.ranks;
}

/// "node1 slots=2 max_slots=4"; limits of Open MPI's own do not count here.
HostRanks host_of_line(const std::string& line, const std::string& what) {
  std::istringstream words(line);
  std::string word;
  words >> word;
  HostRanks host{.name = host_name_in(word, what)};
  while (words >> word) {
    if (word.starts_with("slots="))
      host.ranks = ranks_in(word.substr(6), what);
    else if (!word.starts_with("max_slots=") && !word.starts_with("max-slots="))
      throw UsageError(fmt::format("{}: '{}' is not known here; write NAME slots=N", what, word));
  }
  return host;
}

[[noreturn]] void refuse_slurm(std::string_view text) {
  throw UsageError(fmt::format("Slurm's '{}' cannot be read here; give --hosts a:1,b:2", text));
}

/// The parts between commas that stand outside of brackets.
std::vector<std::string> split_outside_brackets(std::string_view text) {
  std::vector<std::string> parts{""};
  int depth = 0;
  for (const char c : text) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (c == ',' && depth == 0)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

/// "07-09" -> 07, 08, 09.
std::vector<std::string> numbers_of_range(const std::string& range) {
  const std::size_t dash = range.find('-');
  const std::string first = range.substr(0, dash);
  if (dash == std::string::npos) return {first};
  const std::string what = "Slurm's list of nodes";
  const std::int64_t from = parse_int(first, what), to = parse_int(range.substr(dash + 1), what);
  if (from < 0 || to < from || to >= kMostNumber || to - from >= kMostRanks) refuse_slurm(range);
  std::vector<std::string> numbers;
  for (std::int64_t number = from; number <= to; ++number)
    numbers.push_back(fmt::format("{:0{}}", number, first.size()));
  return numbers;
}

/// The names that "gpu[01-03,7]-ib" stands for; with two pairs of brackets it is a form that is not known here.
std::vector<std::string> names_of_slurm(const std::string& part) {
  const std::size_t open = part.find('['), close = part.find(']');
  std::vector<std::string> names;
  if (open == std::string::npos) {
    names.push_back(part);
  } else {
    if (close == std::string::npos || close < open) refuse_slurm(part);
    const std::string before = part.substr(0, open), behind = part.substr(close + 1);
    for (const std::string& range : split_list(part.substr(open + 1, close - open - 1), "Slurm's list of nodes")) {
      for (const std::string& number : numbers_of_range(range)) names.push_back(before + number + behind);
      if (std::ssize(names) > kMostRanks) refuse_slurm(part);
    }
  }
  for (const std::string& name : names)
    if (!is_host_name(name)) refuse_slurm(part);
  return names;
}

/// "2(x3),1" -> 2, 2, 2, 1.
std::vector<std::int64_t> tasks_of_slurm(std::string_view text) {
  const std::string what = "Slurm's tasks of a node";
  std::vector<std::int64_t> tasks;
  for (const std::string& part : split_list(text, what)) {
    const std::size_t times = part.find("(x");
    if (times != std::string::npos && !part.ends_with(')')) refuse_slurm(text);
    const std::int64_t count =
        times == std::string::npos ? 1 : ranks_in(part.substr(times + 2, part.size() - times - 3), what);
    tasks.insert(tasks.end(), static_cast<std::size_t>(count), ranks_in(part.substr(0, times), what));
    if (std::ssize(tasks) > kMostRanks) refuse_slurm(text);
  }
  return tasks;
}

/// Empty where the variable is not set.
std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::vector<HostRanks> parse_host_list(std::string_view text, const std::string& what) {
  std::vector<HostRanks> hosts;
  for (const std::string& part : split_list(text, what)) {
    const std::size_t colon = std::min(part.find(':'), part.size());
    HostRanks host{.name = host_name_in(part.substr(0, colon), what)};
    if (colon < part.size()) host.ranks = ranks_in(part.substr(colon + 1), what);
    add(hosts, std::move(host));
  }
  return hosts;
}

std::vector<HostRanks> parse_hostfile(std::string_view text, const std::string& source) {
  std::vector<HostRanks> hosts;
  std::istringstream lines{std::string(text)};
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    line = line.substr(0, line.find('#'));
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    add(hosts, host_of_line(line, fmt::format("{}: line {}", source, number)));
  }
  if (hosts.empty()) throw UsageError(source + ": names no host");
  return hosts;
}

std::vector<HostRanks> parse_slurm_hosts(std::string_view nodes, std::string_view tasks) {
  std::vector<HostRanks> hosts;
  for (const std::string& part : split_outside_brackets(nodes)) {
    for (std::string& name : names_of_slurm(part)) hosts.push_back({std::move(name)});
    if (std::ssize(hosts) > kMostRanks) refuse_slurm(nodes);
  }
  if (tasks.empty()) return hosts;
  const std::vector<std::int64_t> counts = tasks_of_slurm(tasks);
  if (counts.size() != hosts.size()) refuse_slurm(tasks);
  for (std::size_t at = 0; at < hosts.size(); ++at) hosts[at].ranks = counts[at];
  return hosts;
}

std::vector<HostRanks> hosts_of_environment() {
  if (const std::string nodes = variable("SLURM_JOB_NODELIST"); !nodes.empty())
    return parse_slurm_hosts(nodes, variable("SLURM_TASKS_PER_NODE"));
  if (const std::string file = variable("PBS_NODEFILE"); !file.empty()) return parse_hostfile(read_file(file), file);
  return {{.name = host_name()}};
}

}  // namespace lshdp::cli
