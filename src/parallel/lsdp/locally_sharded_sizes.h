// What the locally sharded store and its prediction of memory share.
#pragma once
#include <cstdint>

#include "layout/block_layout.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/comm/node.h"
#include "lshdp/core/device.h"

namespace lshdp::parallel {

/// How a bucket is cut: over all ranks in the order of nodes, and so that a node's ranks together hold the node's
/// shard.
struct Cut {
  comm::Shards of_ranks, of_nodes;
};

Cut cut(std::int64_t count, const comm::NodeMap& map, int ranks);
/// Elements that a device apart needs room for in host memory, where one gradient arrives that is added to others.
std::int64_t landing_count(const BlockLayout& layout, const ComputeDevice& device);

}  // namespace lshdp::parallel
