// Times of collectives.
#include "lshdp/explore/collectives.h"

#include <algorithm>

namespace lshdp::explore {
namespace {

double number(std::int64_t value) { return static_cast<double>(value); }

/// How a group stands on nodes: `members` of it on each of `nodes`.
struct Placement {
  Placement(const Cluster& cluster, Group group)
      : members(std::clamp<std::int64_t>(cluster.devices_per_node / group.stride, 1, group.size)),
        nodes((group.size + members - 1) / members) {}
  std::int64_t members, nodes;
};

double seconds_per_byte(const Hardware& hardware, const Link& link) {
  return 1 / (link.bytes_per_second * hardware.efficiency.link);
}

}  // namespace

Transfer all_gather(const Hardware& hardware, Group group) {
  if (group.size <= 1) return {};
  const Placement on(hardware.cluster, group);
  const double m = number(on.members), n = number(on.nodes);
  const Link &within = hardware.cluster.within_node, &between = hardware.cluster.between_nodes;
  Transfer transfer;
  if (on.members > 1) {
    transfer.seconds += (m - 1) * within.latency_seconds;
    transfer.seconds_per_byte += (m - 1) / m * seconds_per_byte(hardware, within);
  }
  if (on.nodes > 1) {
    transfer.seconds += (n - 1) * between.latency_seconds;
    transfer.seconds_per_byte += (n - 1) / n / m * seconds_per_byte(hardware, between);
  }
  return transfer;
}

Transfer all_reduce(const Hardware& hardware, Group group) {
  const Transfer half = all_gather(hardware, group);
  return {2 * half.seconds, 2 * half.seconds_per_byte};
}

Transfer all_to_all(const Hardware& hardware, Group group) {
  if (group.size <= 1) return {};
  const Placement on(hardware.cluster, group);
  const double size = number(group.size), m = number(on.members);
  const Link &within = hardware.cluster.within_node, &between = hardware.cluster.between_nodes;
  const Transfer inside{(m - 1) * within.latency_seconds, (m - 1) / size * seconds_per_byte(hardware, within)};
  if (on.nodes == 1) return inside;
  const Transfer outside{(size - m) * between.latency_seconds, (size - m) / size * seconds_per_byte(hardware, between)};
  return {std::max(inside.seconds, outside.seconds), std::max(inside.seconds_per_byte, outside.seconds_per_byte)};
}

Transfer send(const Hardware& hardware, std::int64_t distance) {
  const bool near = distance < hardware.cluster.devices_per_node;
  const Link& link = near ? hardware.cluster.within_node : hardware.cluster.between_nodes;
  return {link.latency_seconds, seconds_per_byte(hardware, link)};
}

}  // namespace lshdp::explore
