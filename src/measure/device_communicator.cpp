// Chooses between the host's communicator and those that keep to the devices.
#include <set>

#include <fmt/format.h>

#include "lshdp/comm/agree.h"
#include "lshdp/comm/nccl.h"
#include "lshdp/comm/node.h"
#include "lshdp/core/error.h"
#include "lshdp/measure/rank_setup.h"

namespace lshdp::measure {
namespace {

/// Why NCCL cannot connect these ranks; empty if it can. `devices`: by rank.
std::string obstacle(const std::vector<std::string>& hosts, const std::vector<std::string>& devices) {
  if (!comm::built_with_nccl()) return "this build has no NCCL";
  std::set<std::pair<std::string, std::string>> taken;
  for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
    if (!devices[rank].starts_with("cuda")) return fmt::format("rank {} computes on {}", rank, devices[rank]);
    if (!taken.emplace(hosts[rank], devices[rank]).second)
      return fmt::format("rank {} shares {} of {} with another", rank, devices[rank], hosts[rank]);
  }
  return "";
}

bool equal_groups_of_several(const std::vector<std::string>& hosts) {
  const comm::NodeMap map = comm::map_nodes(hosts);
  for (const auto& node : map.nodes) {
    if (node.size() < 2 || node.size() != map.nodes.front().size()) return false;
  }
  return true;
}

/// "mpi", "nccl" or "hierarchical".
std::string chosen_way(const std::string& wish, const std::vector<std::string>& hosts,
                       const std::vector<std::string>& devices) {
  const std::string reason = obstacle(hosts, devices);
  if (wish != "auto") {
    if (!reason.empty()) throw UsageError(fmt::format("--comm: {} is not possible: {}; use mpi", wish, reason));
    if (wish == "hierarchical") comm::refuse_unequal_groups(hosts);
    return wish;
  }
  if (!reason.empty() || hosts.size() == 1) return "mpi";
  if (std::set(hosts.begin(), hosts.end()).size() == 1) return "nccl";
  return equal_groups_of_several(hosts) ? "hierarchical" : "mpi";
}

}  // namespace

std::unique_ptr<comm::Communicator> make_device_communicator(comm::Communicator& communicator, const std::string& way,
                                                             const RankSetup& setup) {
  if (way == "mpi") return nullptr;
  const std::vector<std::string> hosts = comm::all_gather_hosts(communicator);
  const std::vector<std::string> devices = comm::all_gather_text(communicator, setup.compute_device->name());
  std::string chosen;
  comm::agree(communicator, [&] { chosen = chosen_way(way, hosts, devices); });
  if (chosen == "mpi") return nullptr;
  const std::vector<std::string> names = chosen == "nccl" ? std::vector<std::string>(hosts.size(), "all") : hosts;
  return comm::make_device_communicator(
      communicator, names, comm::make_nccl_group(communicator, names, *setup.compute_device), *setup.compute_device);
}

}  // namespace lshdp::measure
