// How a model is trained, as far as memory depends on it and no layout says it.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace lshdp::explore {

/// What data parallel ranks share out among them, by ZeRO's stages 0 to 3 (arXiv 1910.02054).
enum class Sharding : std::uint8_t { no_op, optimizer_states, optimizer_states_and_grads, fully_shard };
inline constexpr std::array kShardings{Sharding::no_op, Sharding::optimizer_states,
                                       Sharding::optimizer_states_and_grads, Sharding::fully_shard};

/// What is in host memory: nothing; gradients, master weights and moments, which the host updates there (ZeRO-Offload,
/// arXiv 2101.06840, section 3); the shards of the weights too (ZeRO-Infinity, arXiv 2104.07857; FSDP's CPU offload,
/// arXiv 2304.11277), as `lshdp train --mode fsdp --offload` does.
enum class Offload : std::uint8_t { none, optimizer, parameters };
inline constexpr std::array kOffloads{Offload::none, Offload::optimizer, Offload::parameters};

/// float16 stands for bfloat16 as well: both take two bytes.
enum class DataType : std::uint8_t { float16, float32 };
inline double bytes_of(DataType type) { return type == DataType::float16 ? 2 : 4; }

/// What a training framework holds on each device beside the model, however large that is. Sources of the presets'
/// values stand in configs/explore/framework.
struct Framework {
  std::string name = {};
  double context_gib = 1;       // CUDA context, kernels, workspaces of libraries
  double communicator_gib = 0;  // NCCL's buffers of one group of devices
  double fragmentation = 0.05;  // margin over what is allocated and freed in each step
  /// Elements of gradients that are copied together to be summed, and of weights that are gathered together.
  std::int64_t reduce_bucket_elements = 0, gather_bucket_elements = 0;
  bool flat_gradients = false;  // the optimizer copies the 16-bit gradients of its part into one piece
  /// Data parallel exchanges and transfers to the host go on beside computing; otherwise all wait for one another.
  bool overlap_comm = true;
};

struct Trainer {
  DataType param_dtype = DataType::float16;
  DataType grad_dtype = DataType::float32;
  bool separate_accumulators =
      false;                    // float16 gradients are kept beside their float32 sums (DeepSpeed BF16_Optimizer)
  bool flash_attention = true;  // scores are never kept
  bool loss_in_float32 = true;  // logits are converted before the loss
  Framework framework = {};
};

/// Bytes that one parameter takes on one of `ranks` ranks that share it out.
struct BytesPerParameter {
  double weights = 0;
  double gradients = 0;  // with the copies that AdamW reads where gradients are float16, or the float16 beside them
  double master = 0;     // float32 weights that the optimizer updates
  double moments = 0;
  double sum() const { return weights + gradients + master + moments; }
};

/// AdamW's state by sharding level and types (PLANNER.md's table; ZeRO, arXiv 1910.02054, section 3.1: 16-bit training
/// takes 2 + 2 + 12 bytes, and more where gradients are kept in float32). With `offload`, what stays on the device:
/// gradients only where no rank has a part of them for itself.
BytesPerParameter bytes_per_parameter(const Trainer& trainer, Sharding sharding, double ranks,
                                      Offload offload = Offload::none);
/// What of it is in host memory: float32 gradients, master weights and moments are 16 bytes, 16-bit shards 2 more
/// (DeepSpeed's memory estimators, deepspeed.readthedocs.io, "Memory Requirements"). Shards that are float32 are their
/// own master weights.
BytesPerParameter host_bytes_per_parameter(const Trainer& trainer, double ranks, Offload offload);

/// "NO_OP", "OPTIMIZER_STATES", "OPTIMIZER_STATES_AND_GRADS", "FULLY_SHARD".
std::string_view name_of(Sharding sharding);
std::string_view name_of(Offload offload);
std::string_view name_of(DataType type);

}  // namespace lshdp::explore
