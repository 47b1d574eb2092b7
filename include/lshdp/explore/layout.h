// One way to lay a model over devices, and the reasons why a combination of sizes is none.
#pragma once
#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lshdp/explore/model.h"
#include "lshdp/explore/trainer.h"

namespace lshdp::explore {

/// What backward computes again instead of keeping it (arXiv 2205.05198): nothing, the attention's core, whole layers.
enum class Recompute : std::uint8_t { none, selective, full };
inline constexpr std::array kRecomputes{Recompute::none, Recompute::selective, Recompute::full};

/// How layers are cut into stages: the same number in each, or so that embedding and head count as well.
enum class LayerSplit : std::uint8_t { even, balanced };
inline constexpr std::array kLayerSplits{LayerSplit::even, LayerSplit::balanced};

/// The members stand in the order in which the search varies them; layouts compare in that order.
struct Layout {
  std::int64_t tensor = 1;        // TP: devices that share each layer's matrices
  std::int64_t expert = 1;        // EP: devices that share a layer's experts; they are among the data parallel ones
  std::int64_t pipeline = 1;      // PP: stages
  std::int64_t interleaving = 1;  // chunks of layers on each stage (virtual stages)
  LayerSplit layer_split = LayerSplit::even;
  std::int64_t context = 1;  // CP: devices that share each sequence
  bool sequence_parallel = false;
  std::int64_t devices = 1;
  std::int64_t micro_batch = 1;  // sequences
  Recompute recompute = Recompute::none;
  Sharding sharding = Sharding::no_op;
  Offload offload = Offload::none;

  /// DP, where `devices` can be divided so.
  std::int64_t data() const { return devices / (tensor * pipeline * context); }
  std::int64_t micro_batches(const Model& model) const { return model.global_batch_size / (data() * micro_batch); }
  auto operator<=>(const Layout&) const = default;
};

/// Why a layout cannot be. The first that holds, in this order, is the reason.
enum class Refusal : std::uint8_t {
  heads_over_tensor,
  key_value_heads_over_tensor,
  ffn_over_tensor,
  experts_over_expert,
  interleaving_without_pipeline,
  too_few_layers,
  layers_over_stages,
  same_as_even,
  sequence_over_context,
  sequence_parallel_without_tensor,
  sequence_over_tensor,
  devices_over_model_parallel,
  data_over_expert,
  batch_over_data,
  micro_batches_over_stages,
  offload_without_sharding,
  parameters_without_full_sharding,
};
inline constexpr std::size_t kRefusals = 17;

/// "num_attention_heads is not divisible by TP".
std::string_view describe(Refusal refusal);
std::string_view name_of(Recompute recompute);
std::string_view name_of(LayerSplit split);

/// The first reason why `layout` cannot be; none if it can.
std::optional<Refusal> refusal_of(const Model& model, const Layout& layout);

// The same by the parts of a layout that each depends on, for a search that asks each once.
std::optional<Refusal> refuse_tensor(const Model& model, std::int64_t tensor);
std::optional<Refusal> refuse_expert(const Model& model, std::int64_t expert);
std::optional<Refusal> refuse_stages(const Model& model, const Layout& layout);
std::optional<Refusal> refuse_context(const Model& model, std::int64_t context);
std::optional<Refusal> refuse_sequence_parallel(const Model& model, const Layout& layout);
std::optional<Refusal> refuse_data(const Model& model, const Layout& layout);
std::optional<Refusal> refuse_offload(Sharding sharding, Offload offload);

}  // namespace lshdp::explore
