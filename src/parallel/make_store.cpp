// One place that knows all stores.
#include "lshdp/parallel/make_store.h"

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/parallel/replicated_store.h"

namespace lshdp::parallel {
namespace {

ReplicatedStoreOptions replicated_options(const StoreOptions& options) {
  return {.precision = options.precision,
          .adamw = options.adamw,
          .bucket_bytes = options.bucket_bytes,
          .wire = options.wire};
}

[[noreturn]] void refuse(Mode mode) {
  throw UsageError(fmt::format("--mode: {} is not in this version; use ddp", to_text(mode)));
}

}  // namespace

std::unique_ptr<ParameterStore> make_store(const model::Model& model, comm::Communicator& communicator,
                                           const StoreOptions& options, Trace* trace) {
  switch (options.mode) {
    case Mode::ddp:
      return make_replicated_store(model, communicator, replicated_options(options), trace);
    case Mode::fsdp:
    case Mode::lsdp:
      break;
  }
  refuse(options.mode);
}

StepTraffic step_traffic(const model::Model& model, const StoreOptions& options) {
  switch (options.mode) {
    case Mode::ddp:
      return replicated_traffic(model, replicated_options(options));
    case Mode::fsdp:
    case Mode::lsdp:
      break;
  }
  refuse(options.mode);
}

}  // namespace lshdp::parallel
