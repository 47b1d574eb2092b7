// Bytes a parameter by sharding level and types.
#include "lshdp/explore/trainer.h"

namespace lshdp::explore {
namespace {

constexpr double kFloat32 = 4;
/// AdamW's two moments, in float32.
constexpr double kMoments = 2 * kFloat32;

/// Float32 shards, where gradients are float32 as well, need no master weights beside them (PyTorch FSDP, arXiv
/// 2304.11277).
bool are_their_own_master(const Trainer& trainer) { return trainer.grad_dtype == DataType::float32; }

}  // namespace

BytesPerParameter bytes_per_parameter(const Trainer& trainer, Sharding sharding, double ranks, Offload offload) {
  const bool half = trainer.param_dtype == DataType::float16;
  const bool separate = half && trainer.grad_dtype == DataType::float32 && trainer.separate_accumulators;
  const double own_gradient = bytes_of(trainer.grad_dtype) + (separate ? bytes_of(trainer.param_dtype) : 0);
  const bool flat = trainer.framework.flat_gradients && sharding >= Sharding::optimizer_states;
  const double gradient_copy =
      trainer.grad_dtype == DataType::float16 ? kFloat32 + (flat ? bytes_of(trainer.grad_dtype) : 0) : 0;
  if (offload != Offload::none) {
    const double weights = offload == Offload::parameters ? 0 : bytes_of(trainer.param_dtype);
    return {.weights = sharding == Sharding::fully_shard ? weights / ranks : weights,
            .gradients = sharding >= Sharding::optimizer_states_and_grads ? 0 : own_gradient};
  }
  BytesPerParameter bytes{.weights = bytes_of(trainer.param_dtype),
                          .gradients = own_gradient,
                          .master = half ? kFloat32 : 0,
                          .moments = kMoments};
  if (sharding >= Sharding::optimizer_states) {
    bytes.master /= ranks;
    bytes.moments /= ranks;
  }
  if (sharding >= Sharding::optimizer_states_and_grads) bytes.gradients /= ranks;
  if (sharding == Sharding::fully_shard) {
    const bool one_copy = half && are_their_own_master(trainer);
    bytes.weights = (one_copy ? kFloat32 : bytes.weights) / ranks;
    if (one_copy) bytes.master = 0;
  }
  // The optimizer's copies of a float16 gradient are needed where it updates.
  bytes.gradients += sharding >= Sharding::optimizer_states ? gradient_copy / ranks : gradient_copy;
  return bytes;
}

BytesPerParameter host_bytes_per_parameter(const Trainer& trainer, double ranks, Offload offload) {
  if (offload == Offload::none) return {};
  BytesPerParameter bytes{.gradients = kFloat32 / ranks, .master = kFloat32 / ranks, .moments = kMoments / ranks};
  if (offload == Offload::optimizer) return bytes;
  const bool one_copy = are_their_own_master(trainer);
  bytes.weights = (one_copy ? kFloat32 : bytes_of(trainer.param_dtype)) / ranks;
  if (one_copy) bytes.master = 0;
  return bytes;
}

std::string_view name_of(Sharding sharding) {
  switch (sharding) {
    case Sharding::no_op:
      return "NO_OP";
    case Sharding::optimizer_states:
      return "OPTIMIZER_STATES";
    case Sharding::optimizer_states_and_grads:
      return "OPTIMIZER_STATES_AND_GRADS";
    case Sharding::fully_shard:
      break;
  }
  return "FULLY_SHARD";
}

std::string_view name_of(Offload offload) {
  switch (offload) {
    case Offload::none:
      return "none";
    case Offload::optimizer:
      return "optimizer";
    case Offload::parameters:
      break;
  }
  return "parameters";
}

std::string_view name_of(DataType type) { return type == DataType::float16 ? "float16" : "float32"; }

}  // namespace lshdp::explore
