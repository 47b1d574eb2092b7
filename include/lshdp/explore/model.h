// The model whose layouts are explored, by the sizes that model cards and config.json files give.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace lshdp::explore {

enum class Activation : std::uint8_t { gelu, swiglu };
enum class Normalization : std::uint8_t { rmsnorm, layernorm };
/// Learned positions are parameters; rotary ones are not.
enum class PositionEmbedding : std::uint8_t { rope, learned };

/// The routed experts that stand for the MLP of some layers.
struct Experts {
  std::int64_t num_experts = 0;           // of an expert layer; 0: the model is dense
  std::int64_t k = 0;                     // experts that each token goes to
  double expert_frequency = 0;            // share of the layers after the first dense ones: 1 all, 0.5 every second
  double token_imbalance_hypothesis = 1;  // tokens of the busiest device over the mean, where EP > 1
  std::int64_t ffn_hidden_size = 0;       // of one expert
  std::int64_t num_shared_experts = 0;    // experts, of the same size, that every token goes to
  std::int64_t first_dense_layers = 0;    // layers at the beginning without experts
  bool router_bias = false;               // one bias an expert that balances the load (DeepSeek-V3)
};

/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434).
struct LatentAttention {
  std::int64_t q_lora_rank = 0;  // 0: queries are not compressed
  std::int64_t kv_lora_rank = 0;
  std::int64_t qk_nope_head_dim = 0;
  std::int64_t qk_rope_head_dim = 0;
  std::int64_t v_head_dim = 0;
};

/// Images in place of tokens. The sequence is one token a patch, and the class token.
struct Vision {
  std::int64_t image_size = 0;
  std::int64_t patch_size = 0;
  std::int64_t num_channels = 3;
  std::int64_t num_classes = 0;
  bool class_token = true;
};

struct Model {
  std::string name;
  std::int64_t global_batch_size = 0;  // sequences (images) a step
  std::int64_t vocab_size = 0;         // 0 for images
  std::int64_t num_layers = 0;
  std::int64_t hidden_size = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t ffn_hidden_size = 0;
  std::int64_t seq_length = 0;               // tokens a sequence
  std::int64_t max_position_embeddings = 0;  // rows of learned positions
  Activation activation = Activation::swiglu;
  Normalization normalization = Normalization::rmsnorm;
  PositionEmbedding position_embedding = PositionEmbedding::rope;
  bool share_embeddings_and_output_weights = false;
  bool qkv_bias = false;
  bool attention_output_bias = false;
  bool mlp_bias = false;
  bool norm_bias = false;  // of a layernorm
  bool qk_norm = false;    // a norm over each head's queries and keys
  double hidden_dropout = 0;
  double attention_dropout = 0;
  Experts moe;
  std::optional<LatentAttention> latent_attention;
  std::optional<Vision> vision;

  bool has_experts() const { return moe.num_experts > 0; }
  /// True if `layer`, counted from 0, has experts.
  bool is_expert_layer(std::int64_t layer) const;
  /// Linear maps into an MLP's hidden layer and out of it: 3 with a gate, otherwise 2.
  std::int64_t mlp_matrices() const { return activation == Activation::swiglu ? 3 : 2; }
  /// Columns of all queries, and of all keys (as many as of all values, unless attention is latent).
  std::int64_t query_width() const { return num_attention_heads * head_dim; }
  std::int64_t key_width() const { return num_key_value_heads * head_dim; }
};

/// Throws UsageError "SOURCE: KEY ..." for sizes below 1 or beyond what can be computed with, and for sizes that do not
/// fit each other: heads that key and value heads do not divide, more experts a token than there are.
void check(const Model& model, const std::string& source);

}  // namespace lshdp::explore
