// One place that knows all stores.
#include "lshdp/parallel/make_store.h"

#include <stdexcept>

#include "lshdp/parallel/fully_sharded_store.h"
#include "lshdp/parallel/locally_sharded_store.h"
#include "lshdp/parallel/replicated_store.h"

namespace lshdp::parallel {
namespace {

ReplicatedStoreOptions replicated_options(const StoreOptions& options) {
  return {.precision = options.precision,
          .adamw = options.adamw,
          .bucket_bytes = options.bucket_bytes,
          .table_bytes = options.table_bytes,
          .wire = options.wire,
          .shard_weights = options.shard_weights,
          .loss_scaling = options.loss_scaling,
          .device = options.device};
}

FullyShardedStoreOptions fully_sharded_options(const StoreOptions& options) {
  return {.precision = options.precision,
          .adamw = options.adamw,
          .bucket_bytes = options.bucket_bytes,
          .offload = options.offload,
          .shard_weights = options.shard_weights,
          .loss_scaling = options.loss_scaling,
          .device = options.device};
}

LocallyShardedStoreOptions locally_sharded_options(const StoreOptions& options) {
  return {.precision = options.precision,
          .adamw = options.adamw,
          .bucket_bytes = options.bucket_bytes,
          .resident = options.resident,
          .node_names = options.node_names,
          .loss_scaling = options.loss_scaling,
          .device = options.device};
}

}  // namespace

std::unique_ptr<ParameterStore> make_store(const model::Model& model, comm::Communicator& communicator,
                                           const StoreOptions& options, Trace* trace) {
  switch (options.mode) {
    case Mode::ddp:
      return make_replicated_store(model, communicator, replicated_options(options), trace);
    case Mode::fsdp:
      return make_fully_sharded_store(model, communicator, fully_sharded_options(options), trace);
    case Mode::lsdp:
      return make_locally_sharded_store(model, communicator, locally_sharded_options(options), trace);
  }
  throw std::invalid_argument("no such mode");
}

StepTraffic step_traffic(const model::Model& model, const StoreOptions& options) {
  switch (options.mode) {
    case Mode::ddp:
      return replicated_traffic(model, replicated_options(options));
    case Mode::fsdp:
      return fully_sharded_traffic(model, fully_sharded_options(options));
    case Mode::lsdp:
      return locally_sharded_traffic(model, locally_sharded_options(options));
  }
  throw std::invalid_argument("no such mode");
}

StoreMemory store_memory(const model::Model& model, const StoreOptions& options, int rank, int ranks) {
  switch (options.mode) {
    case Mode::ddp:
      return replicated_memory(model, replicated_options(options), rank, ranks);
    case Mode::fsdp:
      return fully_sharded_memory(model, fully_sharded_options(options), rank, ranks);
    case Mode::lsdp:
      return locally_sharded_memory(model, locally_sharded_options(options), rank);
  }
  throw std::invalid_argument("no such mode");
}

}  // namespace lshdp::parallel
