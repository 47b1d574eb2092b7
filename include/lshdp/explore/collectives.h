// How long collectives of groups of devices take on a network of two levels: within nodes and between them.
#pragma once
#include <cstdint>

#include "lshdp/explore/hardware.h"

namespace lshdp::explore {

/// Devices first, first + stride, first + 2 stride ..: where the sizes of a layout stand in the order TP, CP, DP, PP
/// (arXiv 2104.04473: TP within a node), TP has stride 1, CP that of TP, and so on.
struct Group {
  std::int64_t size = 1;
  std::int64_t stride = 1;
};

/// Seconds that rise with the bytes: `seconds` + bytes x `seconds_per_byte`.
struct Transfer {
  double seconds = 0;
  double seconds_per_byte = 0;
  double of(double bytes) const { return bytes > 0 ? seconds + bytes * seconds_per_byte : 0; }
};

/// Each device has a part of `bytes` and gets the whole; the same of a reduce-scatter, which is the way back. Ring
/// within a node, (m - 1)/m of the bytes in m - 1 messages, and between n nodes (n - 1)/n of the m-th part that each
/// device sends on its own share of the network (Thakur et al., "Optimization of Collective Communication Operations in
/// MPICH", 2005, section 4; hierarchical: arXiv 1909.08053's groups on NCCL).
Transfer all_gather(const Hardware& hardware, Group group);
/// A reduce-scatter and an all-gather of `bytes`.
Transfer all_reduce(const Hardware& hardware, Group group);
/// Each device has `bytes` and sends the same share of them to each. What stays in the node and what leaves it pass at
/// the same time.
Transfer all_to_all(const Hardware& hardware, Group group);
/// `bytes` from a device to the one that stands `distance` after it.
Transfer send(const Hardware& hardware, std::int64_t distance);

}  // namespace lshdp::explore
