// Models with known sizes, and layouts to try them with.
#pragma once
#include <string>

#include "lshdp/explore/layout.h"
#include "lshdp/explore/model.h"

namespace lshdp::explore::test {

/// A Llama: rotary positions, RMS norms, a gated MLP, no biases, its own head.
inline Model llama(std::int64_t layers, std::int64_t hidden, std::int64_t heads, std::int64_t key_value_heads,
                   std::int64_t ffn, std::int64_t vocabulary) {
  Model model;
  model.name = "llama";
  model.global_batch_size = 1024;
  model.vocab_size = vocabulary;
  model.num_layers = layers;
  model.hidden_size = hidden;
  model.num_attention_heads = heads;
  model.num_key_value_heads = key_value_heads;
  model.head_dim = hidden / heads;
  model.ffn_hidden_size = ffn;
  model.seq_length = 8192;
  return model;
}

/// A GPT-2: learned positions, biases everywhere, a shared embedding, an MLP of four times the width.
inline Model gpt(std::int64_t layers, std::int64_t hidden, std::int64_t heads, std::int64_t context,
                 std::int64_t vocabulary) {
  Model model = llama(layers, hidden, heads, heads, 4 * hidden, vocabulary);
  model.name = "gpt";
  model.seq_length = model.max_position_embeddings = context;
  model.activation = Activation::gelu;
  model.normalization = Normalization::layernorm;
  model.position_embedding = PositionEmbedding::learned;
  model.share_embeddings_and_output_weights = true;
  model.qkv_bias = model.attention_output_bias = model.mlp_bias = model.norm_bias = true;
  return model;
}

inline Model mixtral(std::int64_t layers, std::int64_t hidden, std::int64_t heads, std::int64_t ffn,
                     std::int64_t vocabulary) {
  Model model = llama(layers, hidden, heads, 8, ffn, vocabulary);
  model.moe = {.num_experts = 8, .k = 2, .expert_frequency = 1, .ffn_hidden_size = ffn};
  return model;
}

inline Model deepseek_v3() {
  Model model = llama(61, 7168, 128, 128, 18432, 129280);
  model.moe = {.num_experts = 256,
               .k = 8,
               .expert_frequency = 1,
               .ffn_hidden_size = 2048,
               .num_shared_experts = 1,
               .first_dense_layers = 3,
               .router_bias = true};
  model.latent_attention = LatentAttention{
      .q_lora_rank = 1536, .kv_lora_rank = 512, .qk_nope_head_dim = 128, .qk_rope_head_dim = 64, .v_head_dim = 128};
  return model;
}

}  // namespace lshdp::explore::test
