// FullyShardedStore (fsdp): parameters, gradients and moments sharded over all ranks, gathered bucket by bucket for
// use.
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

/// Tags [0, 2 * number of blocks] of `communicator` are its own; passes are collective (gathers_every_pass()).
///
/// A bucket's parameters are gathered into one of two slots, one bucket ahead of use in forward and in backward; what
/// the slots still hold is not gathered again. Buckets that later blocks borrow from (a tied embedding) have a slot of
/// their own and are gathered once a step. In each pass a bucket's gradients are reduce-scattered as soon as its
/// backward has added them, from one of two gradient slots, and the owner adds them to its shard's sum. The owner
/// updates its shard behind the rest of backward; updated parameters travel when the next forward wants them. With
/// clip_norm or in fp16, one scalar all-reduce comes before any update.
///
/// Device memory of a rank: with s its share of the shards, s of the model's master values, gradients and two moments,
/// which offload moves to the host; the slots, each as large as its largest bucket, and receive memory of (N-1) s of
/// each gradient slot. `communicator`, `model` and `trace` (may be null) must outlive the store. Parameters are zero
/// until set_values(). Throws UsageError on shard_weights that make_shards() refuses.
std::unique_ptr<ParameterStore> make_fully_sharded_store(const model::Model& model, comm::Communicator& communicator,
                                                         const StoreOptions& options, Trace* trace = nullptr);

/// What the store of `rank` holds.
StoreMemory fully_sharded_memory(const model::Model& model, const StoreOptions& options, int rank, int ranks);

/// What a step of one pass moves: gradients once; parameters once for forward, and all but those still in their slots
/// for backward: 3(N-1)/N of them in all, less two of its buckets and what is borrowed. Each further pass moves as much
/// again, which is not in these figures.
StepTraffic fully_sharded_traffic(const model::Model& model, const StoreOptions& options);

}  // namespace lshdp::parallel
