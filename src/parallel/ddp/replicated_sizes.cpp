// What a replicated store holds, and what its steps move.
#include "ddp/replicated_sizes.h"

#include <vector>

#include <ATen/ATen.h>

#include "layout/block_layout.h"
#include "layout/bucket_transfer.h"
#include "layout/host_arena.h"
#include "lshdp/core/bf16.h"
#include "lshdp/core/device.h"

namespace lshdp::parallel {

bool changes_travel(const StoreOptions& options) {
  return options.strategy.wire == Wire::bf16 && compute_type(options.strategy.precision) == at::kFloat;
}

std::int64_t wire_bytes(std::int64_t count, const StoreOptions& options) {
  const at::ScalarType parameters = changes_travel(options) ? at::kBFloat16 : compute_type(options.strategy.precision);
  return HostArena::bytes_of(count, master_type(options.strategy.precision)) + HostArena::bytes_of(count, parameters);
}

StepTraffic replicated_traffic(const model::Model& model, const StoreOptions& options) {
  const bool rounds = options.strategy.wire == Wire::bf16;
  const std::vector<Bucket> buckets = make_buckets(model, min_count(options.bucket_bytes, options.strategy.precision),
                                                   min_count(options.table_bytes, options.strategy.precision));
  return traffic_of_each_once(buckets, rounds ? at::kBFloat16 : master_type(options.strategy.precision),
                              rounds ? at::kBFloat16 : compute_type(options.strategy.precision));
}

StoreMemory replicated_memory(const model::Model& model, const StoreOptions& options, int rank, int ranks) {
  const BlockLayout layout(model, min_count(options.bucket_bytes, options.strategy.precision),
                           min_count(options.table_bytes, options.strategy.precision));
  const at::ScalarType master_weights = master_type(options.strategy.precision),
                       used = compute_type(options.strategy.precision);
  const auto master = static_cast<std::int64_t>(at::elementSize(master_weights));
  const auto compute = static_cast<std::int64_t>(at::elementSize(used));
  const bool changes = changes_travel(options), apart = changes || master_weights != used;
  const bool computes_apart = device_or_host(options.device)->has_own_memory(), copies = computes_apart && ranks > 1;
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
        static_cast<std::int64_t>(comm::scratch_bytes(shards, wire_type(master_weights), rank, options.strategy.wire));
    if (changes) memory.device.buffers += count * static_cast<std::int64_t>(sizeof(Bf16));
    if (copies) memory.host.buffers += wire_bytes(count, options);
  }
  return memory;
}

}  // namespace lshdp::parallel
