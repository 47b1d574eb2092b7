// What a locally sharded store holds, and what its steps move.
#include "lsdp/locally_sharded_sizes.h"

#include <algorithm>
#include <vector>

#include <ATen/ATen.h>

#include "layout/bucket_transfer.h"
#include "layout/host_arena.h"
#include "lsdp/device_slots.h"
#include "lsdp/locally_sharded_store.h"
#include "lsdp/node_buckets.h"
#include "lsdp/node_exchange.h"

namespace lshdp::parallel {

Cut cut(std::int64_t count, const comm::NodeMap& map, int ranks) {
  Cut result{comm::equal_shards(count, ranks, kAlignment), {{0}}};
  std::size_t last = 0;
  for (const auto& node : map.nodes) {
    last += node.size();
    result.of_nodes.bounds.push_back(result.of_ranks.bounds[last]);
  }
  return result;
}

std::int64_t landing_count(const BlockLayout& layout, const ComputeDevice& device) {
  std::int64_t largest = 0;
  for (const Bucket& bucket : layout.buckets()) {
    for (const Slot& slot : bucket.slots) largest = std::max(largest, slot.count);
  }
  return device.has_own_memory() ? largest : 0;
}

StepTraffic locally_sharded_traffic(const model::Model& model, const StoreOptions& options) {
  return traffic_of_each_once(make_buckets(model, min_count(options.bucket_bytes, options.strategy.precision)),
                              master_type(options.strategy.precision), compute_type(options.strategy.precision));
}

std::int64_t locally_sharded_device_bytes(const model::Model& model, const StoreOptions& options) {
  const BlockLayout layout(model, min_count(options.bucket_bytes, options.strategy.precision));
  std::int64_t elements = 0;
  for (const std::int64_t count :
       slot_counts(layout, resident_buckets(layout, model.blocks.size(), options.strategy.resident.value_or(0))))
    elements += count;
  return elements * static_cast<std::int64_t>(at::elementSize(compute_type(options.strategy.precision)));
}

StoreMemory locally_sharded_memory(const model::Model& model, const StoreOptions& options, int rank) {
  const BlockLayout layout(model, min_count(options.bucket_bytes, options.strategy.precision));
  const comm::NodeMap map = comm::map_nodes(options.node_names);
  const std::vector<int> order = map.in_node_order();
  const int ranks = static_cast<int>(order.size());
  const int place = static_cast<int>(std::ranges::find(order, rank) - order.begin());
  const at::ScalarType type = master_type(options.strategy.precision);
  const auto master = static_cast<std::int64_t>(at::elementSize(type));
  const auto compute = static_cast<std::int64_t>(at::elementSize(compute_type(options.strategy.precision)));
  const bool apart = type != compute_type(options.strategy.precision), leads = map.leads(rank);
  StoreMemory memory;
  memory.device.parameters = locally_sharded_device_bytes(model, options);
  std::vector<comm::Shards> of_nodes;
  for (const Bucket& bucket : layout.buckets()) {
    const Cut shards = cut(bucket.count, map, ranks);
    const std::int64_t bytes = HostArena::bytes_of(shards.of_ranks.count(place), type);
    memory.host.parameters += apart ? bytes : 0;
    memory.host.moments += 2 * bytes;
    of_nodes.push_back(shards.of_nodes);
    if (!leads) continue;
    memory.node.parameters += bucket.count * compute;
    memory.node.gradients += bucket.count * master;
  }
  memory.host.buffers += HostArena::bytes_of(landing_count(layout, *device_or_host(options.device)),
                                             compute_type(options.strategy.precision));
  if (!leads) return memory;
  memory.node.buffers = bookkeeping_bytes(layout, options.strategy.precision);
  for (const std::int64_t bytes : NodeExchange::region_sizes(of_nodes, wire_type(type), map.node_of(rank)))
    memory.host.buffers += bytes;
  return memory;
}

}  // namespace lshdp::parallel
