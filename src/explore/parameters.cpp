// Counts parameters layer by layer.
#include "lshdp/explore/parameters.h"

namespace lshdp::explore {
namespace {

std::int64_t part_of(std::int64_t whole, std::int64_t parts) { return (whole + parts - 1) / parts; }

std::int64_t norm(const Model& model, std::int64_t width) { return model.norm_bias ? 2 * width : width; }

/// arXiv 2405.04434, section 2.1: queries, keys and values come from compressed vectors; only the way up is cut.
std::int64_t latent_attention(const Model& model, const LatentAttention& latent, std::int64_t tensor) {
  const std::int64_t h = model.hidden_size, heads = model.num_attention_heads / tensor;
  const std::int64_t query = heads * (latent.qk_nope_head_dim + latent.qk_rope_head_dim);
  const std::int64_t queries =
      latent.q_lora_rank == 0 ? h * query : h * latent.q_lora_rank + latent.q_lora_rank * query;
  const std::int64_t keys_and_values = h * (latent.kv_lora_rank + latent.qk_rope_head_dim) +
                                       latent.kv_lora_rank * heads * (latent.qk_nope_head_dim + latent.v_head_dim);
  return queries + keys_and_values + heads * latent.v_head_dim * h;
}

std::int64_t attention(const Model& model, std::int64_t tensor) {
  if (model.latent_attention) return latent_attention(model, *model.latent_attention, tensor);
  return 2 * model.hidden_size * (part_of(model.query_width(), tensor) + part_of(model.key_width(), tensor));
}

std::int64_t attention_norms_and_biases(const Model& model, std::int64_t tensor) {
  std::int64_t count = norm(model, model.hidden_size);
  if (model.qkv_bias) count += part_of(model.query_width(), tensor) + 2 * part_of(model.key_width(), tensor);
  if (model.attention_output_bias) count += model.hidden_size;
  if (model.qk_norm) count += 2 * norm(model, model.head_dim);
  if (model.latent_attention) count += model.latent_attention->q_lora_rank + model.latent_attention->kv_lora_rank;
  return count;
}

std::int64_t mlp_biases(const Model& model, std::int64_t ffn, std::int64_t tensor) {
  return model.mlp_bias ? (model.mlp_matrices() - 1) * part_of(ffn, tensor) + model.hidden_size : 0;
}

std::int64_t mlp(const Model& model, std::int64_t ffn, std::int64_t tensor) {
  return model.mlp_matrices() * model.hidden_size * part_of(ffn, tensor);
}

LayerParameters layer_of(const Model& model, std::int64_t layer) {
  return layer_parameters(model, model.is_expert_layer(layer), 1, 1);
}

}  // namespace

LayerParameters layer_parameters(const Model& model, bool expert_layer, std::int64_t tensor, std::int64_t expert) {
  LayerParameters layer;
  layer.attention = attention(model, tensor);
  layer.norms_and_biases = attention_norms_and_biases(model, tensor) + norm(model, model.hidden_size);
  if (!expert_layer) {
    layer.mlp = mlp(model, model.ffn_hidden_size, tensor);
    layer.norms_and_biases += mlp_biases(model, model.ffn_hidden_size, tensor);
    return layer;
  }
  const Experts& moe = model.moe;
  layer.router = model.hidden_size * moe.num_experts;
  if (moe.router_bias) layer.norms_and_biases += moe.num_experts;
  layer.mlp = moe.num_shared_experts * mlp(model, moe.ffn_hidden_size, tensor);
  layer.experts = moe.num_experts / expert *
                  (mlp(model, moe.ffn_hidden_size, tensor) + mlp_biases(model, moe.ffn_hidden_size, tensor));
  return layer;
}

std::int64_t embedding_parameters(const Model& model, std::int64_t tensor) {
  const std::int64_t h = model.hidden_size;
  const std::int64_t positions =
      model.position_embedding == PositionEmbedding::learned ? model.max_position_embeddings * h : 0;
  if (!model.vision) return part_of(model.vocab_size, tensor) * h + positions;
  const Vision& vision = *model.vision;
  const std::int64_t patch = vision.num_channels * vision.patch_size * vision.patch_size;
  return (patch + 1) * h + (vision.class_token ? h : 0) + positions;
}

std::int64_t head_parameters(const Model& model, std::int64_t tensor, bool with_embedding) {
  const std::int64_t h = model.hidden_size, last_norm = norm(model, h);
  if (model.vision) return last_norm + (h + 1) * model.vision->num_classes;
  if (model.share_embeddings_and_output_weights && with_embedding) return last_norm;
  return last_norm + part_of(model.vocab_size, tensor) * h;
}

std::int64_t total_parameters(const Model& model) {
  std::int64_t count = embedding_parameters(model, 1) + head_parameters(model, 1, true);
  for (std::int64_t layer = 0; layer < model.num_layers; ++layer) count += layer_of(model, layer).sum();
  return count;
}

std::int64_t active_parameters(const Model& model) {
  std::int64_t count = embedding_parameters(model, 1) + head_parameters(model, 1, true);
  for (std::int64_t layer = 0; layer < model.num_layers; ++layer) {
    const LayerParameters parameters = layer_of(model, layer);
    count += parameters.dense();
    if (parameters.experts > 0) count += parameters.experts / model.moe.num_experts * model.moe.k;
  }
  return count;
}

}  // namespace lshdp::explore
