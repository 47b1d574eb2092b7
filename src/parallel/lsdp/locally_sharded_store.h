// LocallyShardedStore (lsdp): one copy of the parameters per node in host memory, streamed through the device; the
// update in host memory, sharded over all ranks.
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

/// strategy.resident: the model's first blocks stay on the device: they are wanted soonest after the update, and come
/// last in backward. It may differ between ranks. Parameters that another block borrows always stay.
///
/// On the device: the resident blocks' parameters and two slots, each as large as the largest bucket that takes turns
/// in it, both in the compute type; and at most two blocks' gradients. In the node's memory, once per node: all
/// parameters in the compute type, the sum of gradients in the master type. In host memory of the rank: two moments of
/// 1/N and, for bf16 and fp16, master weights of 1/N (N: all ranks); on the leader of a node also what a few buckets'
/// sums are received into. No MemoryBudget counts host memory.
///
/// Ranks of a node add their gradients up in that node's memory, in the order in which they come: with three or more
/// ranks on a node (or two that accumulate), the last bit of a sum may differ between runs. Between nodes, their
/// leaders exchange 2(N-1)/N of the gradients' bytes (N: nodes). `communicator` carries the norm where it is wanted;
/// tags
/// [0, 2 * number of blocks] of it are the store's.
std::unique_ptr<ParameterStore> make_locally_sharded_store(const model::Model& model, comm::Communicator& communicator,
                                                           const StoreOptions& options, Trace* trace = nullptr);

/// Bytes that a step reduces and gathers between nodes, and the part that nothing can hide; see StepTraffic.
StepTraffic locally_sharded_traffic(const model::Model& model, const StoreOptions& options);

/// What the store of `rank` holds; options.node_names must say who shares a node.
StoreMemory locally_sharded_memory(const model::Model& model, const StoreOptions& options, int rank);

/// Device memory that the store keeps for parameters with so many resident blocks.
std::int64_t locally_sharded_device_bytes(const model::Model& model, const StoreOptions& options);

}  // namespace lshdp::parallel
