// What a fully sharded store holds, and what its steps move.
#include <vector>

#include <ATen/ATen.h>

#include "fsdp/fully_sharded_store.h"
#include "fsdp/slot_assignment.h"
#include "layout/block_layout.h"
#include "layout/bucket_transfer.h"
#include "layout/host_arena.h"
#include "lshdp/core/device.h"

namespace lshdp::parallel {

StepTraffic fully_sharded_traffic(const model::Model& model, const StoreOptions& options) {
  const auto master = static_cast<std::int64_t>(at::elementSize(master_type(options.strategy.precision)));
  const auto compute = static_cast<std::int64_t>(at::elementSize(compute_type(options.strategy.precision)));
  const BlockLayout layout(model, min_count(options.bucket_bytes, options.strategy.precision));
  const std::vector<Bucket>& buckets = layout.buckets();
  const SlotAssignment assignment = assign_slots(layout, model.blocks.size(), kParameterSlots);
  std::vector<bool> held(assignment.counts.size());  // by slot, when backward begins
  StepTraffic traffic;
  for (std::size_t index = buckets.size(); index-- > 0;) {
    traffic.gradient_bytes += buckets[index].count * master;
    traffic.parameter_bytes += buckets[index].count * compute;
    if (held[assignment.slot_of[index]]) traffic.parameter_bytes += buckets[index].count * compute;
    held[assignment.slot_of[index]] = true;
    if (index < 2) traffic.exposed_bytes += buckets[index].count * master;
  }
  return traffic;
}

StoreMemory fully_sharded_memory(const model::Model& model, const StoreOptions& options, int rank, int ranks) {
  const BlockLayout layout(model, min_count(options.bucket_bytes, options.strategy.precision));
  const SlotAssignment parameters = assign_slots(layout, model.blocks.size(), kParameterSlots);
  const SlotAssignment gradients = assign_slots(layout, model.blocks.size(), kGradientSlots);
  const at::ScalarType type = master_type(options.strategy.precision);
  const auto master = static_cast<std::int64_t>(at::elementSize(type));
  const auto compute = static_cast<std::int64_t>(at::elementSize(compute_type(options.strategy.precision)));
  StoreMemory memory;
  MemoryParts& owned = options.strategy.offload ? memory.host : memory.device;
  std::vector<comm::Shards> shards;
  for (const Bucket& bucket : layout.buckets()) {
    shards.push_back(make_shards(bucket.count, ranks, options.shard_weights));
    const std::int64_t mine = shards.back().count(rank);
    const std::int64_t bytes = options.strategy.offload ? HostArena::bytes_of(mine, type) : mine * master;
    owned.parameters += bytes;
    owned.moments += 2 * bytes;
    owned.gradients += bytes;
  }
  const bool apart = device_or_host(options.device)->has_own_memory(), copies = apart && ranks > 1;
  for (const std::int64_t count : parameters.counts) {
    memory.device.parameters += count * compute;
    if (copies) memory.host.buffers += HostArena::bytes_of(count, compute_type(options.strategy.precision));
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
