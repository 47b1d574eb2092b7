// What a replicated store holds, and what its steps move.
#include "ddp/replicated_sizes.h"

#include <vector>

#include <ATen/ATen.h>

#include "layout/block_layout.h"
#include "layout/bucket_transfer.h"
#include "layout/host_arena.h"
#include "lshdp/core/bf16.h"
#include "lshdp/core/device.h"
#include "lshdp/parallel/placement.h"

namespace lshdp::parallel {
namespace {

/// The ranks that hold a block together, and this one's place among them; no ranks: it is none of them.
struct Share {
  int rank = 0, ranks = 0;
};

Share share_of(const Placement* placement, std::size_t block, int rank, int ranks) {
  if (placement == nullptr) return {rank, ranks};
  const comm::Communicator* group = placement->group_of(block);
  return group == nullptr ? Share{} : Share{group->rank(), group->size()};
}

}  // namespace

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
  const Placement* placement = options.placement.get();
  const BlockLayout layout(model, min_count(options.bucket_bytes, options.strategy.precision),
                           min_count(options.table_bytes, options.strategy.precision),
                           placement != nullptr ? std::span<const int>(placement->groups()) : std::span<const int>());
  const at::ScalarType master_weights = master_type(options.strategy.precision),
                       used = compute_type(options.strategy.precision);
  const auto master = static_cast<std::int64_t>(at::elementSize(master_weights));
  const auto compute = static_cast<std::int64_t>(at::elementSize(used));
  const bool changes = changes_travel(options), apart = changes || master_weights != used;
  const bool computes_apart = device_or_host(options.device)->has_own_memory();
  StoreMemory memory;
  MemoryParts& received = computes_apart ? memory.host : memory.device;
  for (std::size_t index = 0; index < layout.buckets().size(); ++index) {
    const std::int64_t count = layout.buckets()[index].count;
    const Share share = share_of(placement, layout.buckets()[index].first_block, rank, ranks);
    if (share.ranks == 0) continue;
    const comm::Shards shards = layout.shards(index, share.ranks, options.shard_weights);
    const std::int64_t mine = shards.count(share.rank);
    memory.device.parameters += count * compute + (apart ? mine * master : 0);
    memory.device.gradients += count * master;
    memory.device.moments += 2 * mine * master;
    received.buffers += static_cast<std::int64_t>(
        comm::scratch_bytes(shards, wire_type(master_weights), share.rank, options.strategy.wire));
    if (changes) memory.device.buffers += count * static_cast<std::int64_t>(sizeof(Bf16));
    if (computes_apart && share.ranks > 1) memory.host.buffers += wire_bytes(count, options);
  }
  return memory;
}

}  // namespace lshdp::parallel
