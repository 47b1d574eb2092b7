// Makes the store of a mode, and says what its steps move over the network.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/device.h"
#include "lshdp/core/trace.h"
#include "lshdp/model/model.h"
#include "lshdp/parallel/mode.h"
#include "lshdp/parallel/precision.h"
#include "lshdp/parallel/store.h"
#include "lshdp/parallel/store_memory.h"

namespace lshdp::parallel {

/// What a store needs to know, in any mode; the same on all ranks.
struct StoreOptions {
  Mode mode = Mode::ddp;
  Precision precision = Precision::fp32;
  AdamW adamw = {};
  std::int64_t bucket_bytes = 256 << 10;  // blocks are put together until their gradients have this many bytes
  std::int64_t table_bytes = 4 << 20;     // ddp: see replicated_store.h
  bool offload = false;                   // fsdp: shards and their update in host memory
  comm::Wire wire = comm::Wire::exact;    // bf16 (rounded): see replicated_store.h; ddp only
  // ddp, fsdp: shards in proportion to these, one per rank: what links carry, the ranks' memory; empty: equal shards
  std::vector<std::int64_t> shard_weights = {};
  std::size_t resident = 0;                  // lsdp: first blocks whose parameters stay on the device; by rank
  std::vector<std::string> node_names = {};  // lsdp: by rank, who shares a node; empty: host names
  LossScaling loss_scaling = {};             // fp16: how the scale of the loss moves
  // What this rank computes on; ranks may differ. Without one: the host.
  std::shared_ptr<ComputeDevice> device = nullptr;
};

/// The store of options.mode; see the header of each for what it keeps where. All ranks must call it with the same
/// options; with a NullCommunicator it has the buffers of that rank and moves nothing. `model`, `communicator` and
/// `trace` (may be null) must outlive it.
std::unique_ptr<ParameterStore> make_store(const model::Model& model, comm::Communicator& communicator,
                                           const StoreOptions& options, Trace* trace = nullptr);

/// What a step of such a store moves.
StepTraffic step_traffic(const model::Model& model, const StoreOptions& options);

/// What such a store of `rank` holds, from the sizes of its arenas; nothing is allocated. lsdp: options.node_names must
/// be given.
StoreMemory store_memory(const model::Model& model, const StoreOptions& options, int rank, int ranks);

}  // namespace lshdp::parallel
