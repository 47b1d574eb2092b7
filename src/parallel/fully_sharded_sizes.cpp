// What a fully sharded store holds, and what its steps move.
#include <vector>

#include <ATen/ATen.h>

#include "block_layout.h"
#include "bucket_transfer.h"
#include "lshdp/core/device.h"
#include "lshdp/parallel/fully_sharded_store.h"
#include "lshdp/parallel/host_arena.h"
#include "turns.h"

namespace lshdp::parallel {

StepTraffic fully_sharded_traffic(const model::Model& model, const FullyShardedStoreOptions& options) {
  const auto master = static_cast<std::int64_t>(at::elementSize(master_type(options.precision)));
  const auto compute = static_cast<std::int64_t>(at::elementSize(compute_type(options.precision)));
  const BlockLayout layout(model, least_count(options.bucket_bytes, options.precision));
  const std::vector<Bucket>& buckets = layout.buckets();
  const Turns turns = take_turns(layout, model.blocks.size(), kParameterSlots);
  std::vector<bool> held(turns.counts.size());  // by slot, when backward begins
  StepTraffic traffic;
  for (std::size_t index = buckets.size(); index-- > 0;) {
    traffic.gradient_bytes += buckets[index].count * master;
    traffic.parameter_bytes += buckets[index].count * compute;
    if (held[turns.slot_of[index]]) traffic.parameter_bytes += buckets[index].count * compute;
    held[turns.slot_of[index]] = true;
    if (index < 2) traffic.boundary_gradient_bytes += buckets[index].count * master;
  }
  return traffic;
}

StoreMemory fully_sharded_memory(const model::Model& model, const FullyShardedStoreOptions& options, int rank,
                                 int ranks) {
  const BlockLayout layout(model, least_count(options.bucket_bytes, options.precision));
  const Turns parameters = take_turns(layout, model.blocks.size(), kParameterSlots);
  const Turns gradients = take_turns(layout, model.blocks.size(), kGradientSlots);
  const at::ScalarType type = master_type(options.precision);
  const auto master = static_cast<std::int64_t>(at::elementSize(type));
  const auto compute = static_cast<std::int64_t>(at::elementSize(compute_type(options.precision)));
  StoreMemory memory;
  MemoryParts& owned = options.offload ? memory.host : memory.device;
  std::vector<comm::Shards> shards;
  for (const Bucket& bucket : layout.buckets()) {
    shards.push_back(make_shards(bucket.count, ranks, options.shard_weights));
    const std::int64_t mine = shards.back().count(rank);
    const std::int64_t bytes = options.offload ? HostArena::bytes_of(mine, type) : mine * master;
    owned.parameters += bytes;
    owned.moments += 2 * bytes;
    owned.gradients += bytes;
  }
  const bool apart = device_or_host(options.device)->apart(), copies = apart && ranks > 1;
  for (const std::int64_t count : parameters.counts) {
    memory.device.parameters += count * compute;
    if (copies) memory.host.buffers += HostArena::bytes_of(count, compute_type(options.precision));
  }
  for (const std::int64_t count : gradients.counts) {
    memory.device.gradients += count * master;
    if (copies) memory.host.buffers += HostArena::bytes_of(count, type);
  }
  MemoryParts& received = apart ? memory.host : memory.device;
  for (const std::int64_t bytes : scratch_of_slots(gradients, shards, wire_type(type), rank)) received.buffers += bytes;
  return memory;
}

}  // namespace lshdp::parallel
