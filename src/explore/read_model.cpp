// Reads a model. What is not said follows from the activation: gated MLPs go with Llama's norms, positions and biases
// (none), others with GPT-2's.
#include "read_model.h"

#include <algorithm>
#include <array>
#include <utility>

namespace lshdp::explore {
namespace {

constexpr std::array kActivations{std::pair{"gelu", Activation::gelu}, std::pair{"swiglu", Activation::swiglu}};
constexpr std::array kNormalizations{std::pair{"rmsnorm", Normalization::rmsnorm},
                                     std::pair{"layernorm", Normalization::layernorm}};
constexpr std::array kPositions{std::pair{"rope", PositionEmbedding::rope},
                                std::pair{"learned", PositionEmbedding::learned}};

const std::vector<std::string> kLatentKeys{"q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim",
                                           "v_head_dim"};
const std::vector<std::string> kVisionKeys{"image_size", "patch_size", "num_channels", "num_classes", "class_token"};
const std::vector<std::string> kExpertKeys{"num_experts",        "k",
                                           "expert_frequency",   "token_imbalance_hypothesis",
                                           "ffn_hidden_size",    "num_shared_experts",
                                           "first_dense_layers", "router_bias"};

template <typename Choices>
auto choice_or(const Section& section, const std::string& key, const Choices& choices, const char* otherwise) {
  return section.choice(key, section.has(key) ? section.value(key) : Json(otherwise), choices);
}

LatentAttention read_latent_attention(const Section& section) {
  LatentAttention latent;
  latent.q_lora_rank = section.integer_or("q_lora_rank", 0, 0);
  latent.kv_lora_rank = section.integer("kv_lora_rank");
  latent.qk_nope_head_dim = section.integer("qk_nope_head_dim");
  latent.qk_rope_head_dim = section.integer("qk_rope_head_dim", 0);
  latent.v_head_dim = section.integer("v_head_dim");
  return latent;
}

Vision read_vision(const Section& section) {
  Vision vision;
  vision.image_size = section.integer("image_size");
  vision.patch_size = section.integer("patch_size");
  vision.num_channels = section.integer_or("num_channels", 3);
  vision.num_classes = section.integer("num_classes");
  vision.class_token = section.boolean_or("class_token", true);
  return vision;
}

Experts read_experts(const Section& section, std::int64_t ffn_hidden_size) {
  Experts moe;
  moe.num_experts = section.integer("num_experts", 0);
  const bool experts = moe.num_experts > 0;
  moe.k = section.integer("k", experts ? 1 : 0);
  moe.expert_frequency = section.real_or("expert_frequency", experts ? 1 : 0, 0, 1);
  moe.token_imbalance_hypothesis = section.real_or("token_imbalance_hypothesis", 1, 1, 1e9);
  moe.ffn_hidden_size = section.integer_or("ffn_hidden_size", ffn_hidden_size);
  moe.num_shared_experts = section.integer_or("num_shared_experts", 0, 0);
  moe.first_dense_layers = section.integer_or("first_dense_layers", 0, 0);
  moe.router_bias = section.boolean_or("router_bias", false);
  return experts && moe.expert_frequency > 0 ? moe : Experts();
}

void read_sequence(const Section& section, Model& model) {
  if (!section.has("vision")) {
    model.vocab_size = section.integer("vocab_size");
    model.seq_length = section.integer("seq_length");
    return;
  }
  model.vision = read_vision(section.section("vision", kVisionKeys));
  // check() refuses images of more; their square must stay within 64 bits until then.
  const std::int64_t side = std::min<std::int64_t>(model.vision->image_size / model.vision->patch_size, 1'000'000'000);
  model.seq_length = side * side + (model.vision->class_token ? 1 : 0);
  for (const std::string key : {"vocab_size", "seq_length"}) {
    if (section.has(key)) section.refuse(key, "does not go with model.vision: patches are the sequence");
  }
}

void read_biases(const Section& section, Model& model) {
  const bool gelu = model.activation == Activation::gelu;
  model.normalization = choice_or(section, "normalization", kNormalizations, gelu ? "layernorm" : "rmsnorm");
  model.qkv_bias = section.boolean_or("qkv_bias", gelu);
  model.attention_output_bias = section.boolean_or("attention_output_bias", gelu);
  model.mlp_bias = section.boolean_or("mlp_bias", gelu);
  model.norm_bias = section.boolean_or("norm_bias", model.normalization == Normalization::layernorm);
  model.qk_norm = section.boolean_or("qk_norm", false);
}

}  // namespace

std::vector<std::string> model_keys() {
  return {"name",
          "global_batch_size",
          "num_layers",
          "hidden_size",
          "num_attention_heads",
          "num_key_value_heads",
          "head_dim",
          "activation",
          "ffn_hidden_size",
          "vocab_size",
          "seq_length",
          "vision",
          "normalization",
          "qkv_bias",
          "attention_output_bias",
          "mlp_bias",
          "norm_bias",
          "qk_norm",
          "position_embedding",
          "max_position_embeddings",
          "share_embeddings_and_output_weights",
          "hidden_dropout",
          "attention_dropout",
          "moe",
          "latent_attention"};
}

Model read_model(const Section& section) {
  Model model;
  model.name = section.text_or("name", "model");
  model.global_batch_size = section.integer("global_batch_size");
  model.num_layers = section.integer("num_layers");
  model.hidden_size = section.integer("hidden_size");
  model.num_attention_heads = section.integer("num_attention_heads");
  model.num_key_value_heads = section.integer_or("num_key_value_heads", model.num_attention_heads);
  if (!section.has("head_dim") && model.hidden_size % model.num_attention_heads != 0)
    section.refuse("hidden_size",
                   fmt::format("({}) must be divisible by num_attention_heads ({}), or head_dim be given",
                               model.hidden_size, model.num_attention_heads));
  model.head_dim =
      section.integer_or("head_dim", std::max<std::int64_t>(1, model.hidden_size / model.num_attention_heads));
  model.activation = choice_or(section, "activation", kActivations, "swiglu");
  model.ffn_hidden_size = section.has("ffn_hidden_size") || model.activation == Activation::swiglu
                              ? section.integer("ffn_hidden_size")
                              : 4 * std::min<std::int64_t>(model.hidden_size, 1'000'000'000);
  read_sequence(section, model);
  read_biases(section, model);
  model.position_embedding =
      choice_or(section, "position_embedding", kPositions, model.activation == Activation::gelu ? "learned" : "rope");
  model.max_position_embeddings = section.integer_or("max_position_embeddings", model.seq_length);
  model.share_embeddings_and_output_weights = section.boolean_or("share_embeddings_and_output_weights", false);
  model.hidden_dropout = section.real_or("hidden_dropout", 0, 0, 1);
  model.attention_dropout = section.real_or("attention_dropout", 0, 0, 1);
  if (section.has("moe")) model.moe = read_experts(section.section("moe", kExpertKeys), model.ffn_hidden_size);
  if (section.has("latent_attention"))
    model.latent_attention = read_latent_attention(section.section("latent_attention", kLatentKeys));
  return model;
}

}  // namespace lshdp::explore
