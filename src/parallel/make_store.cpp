// One place that knows all stores.
#include "lshdp/parallel/make_store.h"

#include <optional>
#include <stdexcept>

#include "ddp/replicated_store.h"
#include "frozen/frozen_layout.h"
#include "frozen/partly_frozen_store.h"
#include "fsdp/fully_sharded_store.h"
#include "lsdp/locally_sharded_store.h"
#include "lshdp/model/trained_part.h"

namespace lshdp::parallel {
namespace {

/// Of a model all of whose parameters are trained.
std::unique_ptr<ParameterStore> make_trained_store(const model::Model& model, comm::Communicator& communicator,
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

/// What is trained of `model`, for what is asked of sizes alone.
class Trained {
 public:
  explicit Trained(const model::Model& model) : whole_(model) {
    if (model::is_partly_frozen(model)) part_ = model::trained_part(model);
  }
  const model::Model& model() const { return part_ ? *part_ : whole_; }

 private:
  const model::Model& whole_;
  std::optional<model::Model> part_;
};

StoreMemory trained_memory(const model::Model& model, const StoreOptions& options, int rank, int ranks) {
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

}  // namespace

std::unique_ptr<ParameterStore> make_store(const model::Model& model, comm::Communicator& communicator,
                                           const StoreOptions& options, Trace* trace) {
  if (!model::is_partly_frozen(model)) return make_trained_store(model, communicator, options, trace);
  return make_partly_frozen_store(model, options, [&](const model::Model& trained) {
    return make_trained_store(trained, communicator, options, trace);
  });
}

StepTraffic step_traffic(const model::Model& whole, const StoreOptions& options) {
  const Trained trained(whole);
  const model::Model& model = trained.model();
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
  return locally_sharded_device_bytes(Trained(model).model(), options) +
         FrozenLayout(model, options).memory().device.total();
}

StoreMemory store_memory(const model::Model& model, const StoreOptions& options, int rank, int ranks) {
  StoreMemory memory = trained_memory(Trained(model).model(), options, rank, ranks);
  const StoreMemory frozen = FrozenLayout(model, options).memory();
  memory.device.parameters += frozen.device.parameters;
  memory.host.parameters += frozen.host.parameters;
  return memory;
}

}  // namespace lshdp::parallel
