// ReplicatedStore (ddp): whole parameters on every rank, the update and its state sharded over all ranks.
#pragma once
#include <cstdint>
#include <memory>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/trace.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/store.h"
#include "lshdp/parallel/store_memory.h"
#include "lshdp/parallel/store_options.h"

namespace lshdp::parallel {

/// Tags [0, 2 * number of blocks + 6) of `communicator` are its own. Gradients of a bucket are reduce-scattered as soon
/// as the last one is there; the owner of each shard updates it on a thread of the store and its parameters are
/// gathered behind the next forward. With clip_norm or in fp16, one scalar all-reduce stands between the two.
/// `communicator`, `model` and `trace` (may be null) must outlive the store. Parameters are zero until set_values().
/// Per rank it holds: parameters in the compute type (bf16, fp16: and this rank's master shard), summed gradients,
/// receive scratch of (N-1)/N gradients (as they travel), and two moments of 1/N; with changes in bf16 also these (2
/// bytes a parameter) and this rank's master shard; for a table, the rows that this rank looks up and those that others
/// look up in its shard, twice. With shard_weights its share s stands for 1/N and (N-1) s for (N-1)/N. Throws
/// std::invalid_argument for fp64 or fp16 with wire bf16, UsageError on shard_weights that make_shards() refuses.
std::unique_ptr<ParameterStore> make_replicated_store(const model::Model& model, comm::Communicator& communicator,
                                                      const StoreOptions& options, Trace* trace = nullptr);

/// What the store of `rank` holds.
StoreMemory replicated_memory(const model::Model& model, const StoreOptions& options, int rank, int ranks);

/// What a step moves: its gradients once, its parameters once, 2(N-1)/N of them in all.
StepTraffic replicated_traffic(const model::Model& model, const StoreOptions& options);

}  // namespace lshdp::parallel
