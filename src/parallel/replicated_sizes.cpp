// What a replicated store holds, and what its steps move.
#include "replicated_sizes.h"

#include <vector>

#include <ATen/ATen.h>

#include "block_layout.h"
#include "bucket_transfer.h"
#include "lshdp/core/bf16.h"
#include "lshdp/core/device.h"
#include "lshdp/parallel/host_arena.h"

namespace lshdp::parallel {

bool changes_travel(const ReplicatedStoreOptions& options) {
  return options.wire == comm::Wire::bf16 && compute_type(options.precision) == at::kFloat;
}

std::int64_t wire_bytes(std::int64_t count, const ReplicatedStoreOptions& options) {
  const at::ScalarType parameters = changes_travel(options) ? at::kBFloat16 : compute_type(options.precision);
  return HostArena::bytes_of(count, master_type(options.precision)) + HostArena::bytes_of(count, parameters);
}

StepTraffic replicated_traffic(const model::Model& model, const ReplicatedStoreOptions& options) {
  const bool rounds = options.wire == comm::Wire::bf16;
  const std::vector<Bucket> buckets = make_buckets(model, least_count(options.bucket_bytes, options.precision),
                                                   least_count(options.table_bytes, options.precision));
  return traffic_of_each_once(buckets, rounds ? at::kBFloat16 : master_type(options.precision),
                              rounds ? at::kBFloat16 : compute_type(options.precision));
}

StoreMemory replicated_memory(const model::Model& model, const ReplicatedStoreOptions& options, int rank, int ranks) {
  const BlockLayout layout(model, least_count(options.bucket_bytes, options.precision),
                           least_count(options.table_bytes, options.precision));
  const at::ScalarType master_weights = master_type(options.precision), used = compute_type(options.precision);
  const auto master = static_cast<std::int64_t>(at::elementSize(master_weights));
  const auto compute = static_cast<std::int64_t>(at::elementSize(used));
  const bool changes = changes_travel(options), apart = changes || master_weights != used;
  const bool computes_apart = device_or_host(options.device)->apart(), copies = computes_apart && ranks > 1;
  StoreMemory memory;
  MemoryParts& received = computes_apart ? memory.host : memory.device;
  for (std::size_t index = 0; index < layout.buckets().size(); ++index) {
    const std::int64_t count = layout.buckets()[index].count;
    const comm::Shards shards = layout.shards(index, ranks, options.shard_weights);
    const std::int64_t mine = shards.count(rank);
    memory.device.parameters += count * compute + (apart ? mine * master : 0);
    memory.device.gradients += count * master;
    memory.device.moments += 2 * mine * master;
    received.buffers +=
        static_cast<std::int64_t>(comm::scratch_bytes(shards, wire_type(master_weights), rank, options.wire));
    if (changes) memory.device.buffers += count * static_cast<std::int64_t>(sizeof(Bf16));
    if (copies) memory.host.buffers += wire_bytes(count, options);
  }
  return memory;
}

}  // namespace lshdp::parallel
