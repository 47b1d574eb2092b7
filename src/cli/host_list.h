// Hosts and how many ranks each has, as hostfiles, lists and batch systems write them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lshdp::cli {

struct HostRanks {
  std::string name;
  std::int64_t ranks = 1;
  bool operator==(const HostRanks&) const = default;
};

/// "a:1,b:2", or "a,b" with one rank each. Throws UsageError naming `what`.
std::vector<HostRanks> parse_host_list(std::string_view text, const std::string& what);

/// Open MPI's hostfile: a line for each host, with slots=N or one rank; a host that comes again has more. Throws
/// UsageError "SOURCE: line L: ..".
std::vector<HostRanks> parse_hostfile(std::string_view text, const std::string& source);

/// The hosts of Slurm's "gpu[01-03,7],login", with the ranks of its "2(x3),1", or one each where that is empty. Throws
/// UsageError for forms that are not known here.
std::vector<HostRanks> parse_slurm_hosts(std::string_view nodes, std::string_view tasks);

/// By Slurm's or PBS's variables; otherwise this machine, with one rank.
std::vector<HostRanks> hosts_of_environment();

}  // namespace lshdp::cli
