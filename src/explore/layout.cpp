// Which layouts can be.
#include "lshdp/explore/layout.h"

#include "lshdp/explore/stages.h"

namespace lshdp::explore {
namespace {

using Reason = std::optional<Refusal>;

Reason if_not(bool holds, Refusal refusal) { return holds ? Reason() : Reason(refusal); }

bool divides(std::int64_t divisor, std::int64_t value) { return value % divisor == 0; }

}  // namespace

Reason refuse_tensor(const Model& model, std::int64_t tensor) {
  if (!divides(tensor, model.num_attention_heads)) return Refusal::heads_over_tensor;
  if (!model.latent_attention && !divides(tensor, model.num_key_value_heads))
    return Refusal::key_value_heads_over_tensor;
  const bool whole =
      divides(tensor, model.ffn_hidden_size) && (!model.has_experts() || divides(tensor, model.moe.ffn_hidden_size));
  return if_not(whole, Refusal::ffn_over_tensor);
}

Reason refuse_expert(const Model& model, std::int64_t expert) {
  return if_not(expert == 1 || (model.has_experts() && divides(expert, model.moe.num_experts)),
                Refusal::experts_over_expert);
}

Reason refuse_stages(const Model& model, const Layout& layout) {
  if (layout.interleaving > 1 && layout.pipeline == 1) return Refusal::interleaving_without_pipeline;
  const std::int64_t most_per_stage = model.num_layers / layout.pipeline;
  if (most_per_stage < layout.interleaving) return Refusal::too_few_layers;
  const bool even = divides(layout.pipeline * layout.interleaving, model.num_layers);
  if (layout.layer_split == LayerSplit::even) return if_not(even, Refusal::layers_over_stages);
  if (!even) return std::nullopt;
  Layout evenly = layout;
  evenly.layer_split = LayerSplit::even;
  return if_not(layers_of_pieces(model, layout) != layers_of_pieces(model, evenly), Refusal::same_as_even);
}

Reason refuse_context(const Model& model, std::int64_t context) {
  // Causal attention gives each rank one piece from either end of the sequence, so that all have the same work (arXiv
  // 2407.21783, section 3.3.2); images attend both ways.
  const std::int64_t pieces = context == 1 || model.vision ? context : 2 * context;
  return if_not(divides(pieces, model.seq_length), Refusal::sequence_over_context);
}

Reason refuse_sequence_parallel(const Model& model, const Layout& layout) {
  if (!layout.sequence_parallel) return std::nullopt;
  if (layout.tensor == 1) return Refusal::sequence_parallel_without_tensor;
  return if_not(divides(layout.tensor, model.seq_length / layout.context), Refusal::sequence_over_tensor);
}

Reason refuse_data(const Model& model, const Layout& layout) {
  const std::int64_t others = layout.tensor * layout.pipeline * layout.context;
  if (!divides(others, layout.devices)) return Refusal::devices_over_model_parallel;
  const std::int64_t data = layout.data();
  if (!divides(layout.expert, data)) return Refusal::data_over_expert;
  if (data > model.global_batch_size / layout.micro_batch ||
      !divides(data * layout.micro_batch, model.global_batch_size))
    return Refusal::batch_over_data;
  // Megatron-LM's interleaved schedule runs groups of PP micro-batches (arXiv 2104.04473, section 2.2.2).
  return if_not(layout.interleaving == 1 || divides(layout.pipeline, layout.micro_batches(model)),
                Refusal::micro_batches_over_stages);
}

Reason refuse_offload(Sharding sharding, Offload offload) {
  // Each rank's part goes to its host, and only full sharding leaves it no weights but its part (DeepSpeed's
  // offload_optimizer and offload_param, deepspeed.ai/docs/config-json).
  if (offload != Offload::none && sharding == Sharding::no_op) return Refusal::offload_without_sharding;
  return if_not(offload != Offload::parameters || sharding == Sharding::fully_shard,
                Refusal::parameters_without_full_sharding);
}

Reason refusal_of(const Model& model, const Layout& layout) {
  if (const Reason reason = refuse_tensor(model, layout.tensor)) return reason;
  if (const Reason reason = refuse_expert(model, layout.expert)) return reason;
  if (const Reason reason = refuse_stages(model, layout)) return reason;
  if (const Reason reason = refuse_context(model, layout.context)) return reason;
  if (const Reason reason = refuse_sequence_parallel(model, layout)) return reason;
  if (const Reason reason = refuse_data(model, layout)) return reason;
  return refuse_offload(layout.sharding, layout.offload);
}

std::string_view describe(Refusal refusal) {
  switch (refusal) {
    case Refusal::heads_over_tensor:
      return "num_attention_heads is not divisible by TP";
    case Refusal::key_value_heads_over_tensor:
      return "num_key_value_heads is not divisible by TP";
    case Refusal::ffn_over_tensor:
      return "ffn_hidden_size is not divisible by TP";
    case Refusal::experts_over_expert:
      return "num_experts is not divisible by EP";
    case Refusal::interleaving_without_pipeline:
      return "interleaving needs PP above 1";
    case Refusal::too_few_layers:
      return "fewer layers than PP x interleaving";
    case Refusal::layers_over_stages:
      return "num_layers is not divisible by PP x interleaving (even split)";
    case Refusal::same_as_even:
      return "the balanced split is the even one";
    case Refusal::sequence_over_context:
      return "seq_length is not divisible by 2 CP";
    case Refusal::sequence_parallel_without_tensor:
      return "sequence parallelism needs TP above 1";
    case Refusal::sequence_over_tensor:
      return "seq_length / CP is not divisible by TP (sequence parallelism)";
    case Refusal::devices_over_model_parallel:
      return "devices are not divisible by TP x PP x CP";
    case Refusal::data_over_expert:
      return "DP is not divisible by EP";
    case Refusal::batch_over_data:
      return "global_batch_size is not divisible by DP x micro-batch";
    case Refusal::micro_batches_over_stages:
      return "micro-batches are not divisible by PP (interleaving)";
    case Refusal::offload_without_sharding:
      return "offload needs OPTIMIZER_STATES or more sharding";
    case Refusal::parameters_without_full_sharding:
      break;
  }
  return "offload of parameters needs FULLY_SHARD";
}

std::string_view name_of(Recompute recompute) {
  switch (recompute) {
    case Recompute::none:
      return "none";
    case Recompute::selective:
      return "selective";
    case Recompute::full:
      break;
  }
  return "full";
}

std::string_view name_of(LayerSplit split) { return split == LayerSplit::even ? "even" : "balanced"; }

}  // namespace lshdp::explore
