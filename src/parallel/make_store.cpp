// One place that knows all stores.
#include "lshdp/parallel/make_store.h"

#include <stdexcept>

#include "ddp/replicated_store.h"
#include "fsdp/fully_sharded_store.h"
#include "lsdp/locally_sharded_store.h"

namespace lshdp::parallel {
std::unique_ptr<ParameterStore> make_store(const model::Model& model, comm::Communicator& communicator,
                                           const StoreOptions& options, Trace* trace) {
  switch (options.strategy.mode) {
    case Mode::ddp:
      return make_replicated_store(model, communicator, options, trace);
    case Mode::fsdp:
      return make_fully_sharded_store(model, communicator, options, trace);
    case Mode::lsdp:
      return make_locally_sharded_store(model, communicator, options, trace);
  }
  throw std::invalid_argument("no such mode");
}

StepTraffic step_traffic(const model::Model& model, const StoreOptions& options) {
  switch (options.strategy.mode) {
    case Mode::ddp:
      return replicated_traffic(model, options);
    case Mode::fsdp:
      return fully_sharded_traffic(model, options);
    case Mode::lsdp:
      return locally_sharded_traffic(model, options);
  }
  throw std::invalid_argument("no such mode");
}

std::int64_t streamed_device_bytes(const model::Model& model, const StoreOptions& options) {
  return locally_sharded_device_bytes(model, options);
}

StoreMemory store_memory(const model::Model& model, const StoreOptions& options, int rank, int ranks) {
  switch (options.strategy.mode) {
    case Mode::ddp:
      return replicated_memory(model, options, rank, ranks);
    case Mode::fsdp:
      return fully_sharded_memory(model, options, rank, ranks);
    case Mode::lsdp:
      return locally_sharded_memory(model, options, rank);
  }
  throw std::invalid_argument("no such mode");
}

}  // namespace lshdp::parallel
