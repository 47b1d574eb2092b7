// Makes the store of a mode, and says what its steps move over the network.
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

/// The store of options.strategy.mode; see the header of each for what it keeps where. All ranks must call it with the
/// same options; with a NullCommunicator it has the buffers of that rank and moves nothing. `model`, `communicator` and
/// `trace` (may be null) must outlive it.
std::unique_ptr<ParameterStore> make_store(const model::Model& model, comm::Communicator& communicator,
                                           const StoreOptions& options, Trace* trace = nullptr);

/// What a step of such a store moves.
StepTraffic step_traffic(const model::Model& model, const StoreOptions& options);

/// lsdp: device memory that the store keeps for parameters with options.strategy.resident blocks.
std::int64_t streamed_device_bytes(const model::Model& model, const StoreOptions& options);

/// What such a store of `rank` holds, from the sizes of its arenas; nothing is allocated. lsdp: options.node_names must
/// be given.
StoreMemory store_memory(const model::Model& model, const StoreOptions& options, int rank, int ranks);

}  // namespace lshdp::parallel
