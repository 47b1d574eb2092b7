// Hugging Face's config.json as a model section.
#include <algorithm>
#include <array>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"
#include "lshdp/explore/settings.h"

namespace lshdp::explore {
namespace {

/// What a configuration has under another name.
class Source {
 public:
  Source(const Json& config, std::string name) : config_(config), name_(std::move(name)) {}

  std::int64_t integer(const std::string& key) const { return json_value<std::int64_t>(config_, key, name_); }
  bool has(const std::string& key) const { return config_.contains(key) && !config_[key].is_null(); }
  std::int64_t integer_or(const std::string& key, std::int64_t otherwise) const {
    return has(key) ? integer(key) : otherwise;
  }
  bool boolean_or(const std::string& key, bool otherwise) const {
    return has(key) ? json_value<bool>(config_, key, name_) : otherwise;
  }
  void require_empty(const std::string& key) const {
    if (has(key) && !config_[key].empty())
      throw UsageError(fmt::format("{}: \"{}\" is not modelled; describe the model in YAML", name_, key));
  }
  double real_or(const std::string& key, double otherwise) const {
    return has(key) ? json_value<double>(config_, key, name_) : otherwise;
  }

 private:
  const Json& config_;
  std::string name_;
};

/// Llama and what is built like it: Mistral, Qwen2 and 3, Mixtral.
Json llama(const Source& config) {
  Json model = {
      {"vocab_size", config.integer("vocab_size")},
      {"num_layers", config.integer("num_hidden_layers")},
      {"hidden_size", config.integer("hidden_size")},
      {"num_attention_heads", config.integer("num_attention_heads")},
      {"num_key_value_heads", config.integer_or("num_key_value_heads", config.integer("num_attention_heads"))},
      {"ffn_hidden_size", config.integer("intermediate_size")},
      {"activation", "swiglu"},
      {"share_embeddings_and_output_weights", config.boolean_or("tie_word_embeddings", false)},
      {"qkv_bias", config.boolean_or("attention_bias", false)},
      {"attention_output_bias", config.boolean_or("attention_bias", false)},
      {"mlp_bias", config.boolean_or("mlp_bias", false)},
      {"attention_dropout", config.real_or("attention_dropout", 0)}};
  if (config.has("head_dim")) model["head_dim"] = config.integer("head_dim");
  return model;
}

Json qwen2(const Source& config) {
  Json model = llama(config);
  model["qkv_bias"] = true;
  model["attention_output_bias"] = false;
  return model;
}

Json qwen3(const Source& config) {
  Json model = llama(config);
  model["qk_norm"] = true;
  return model;
}

Json mixtral(const Source& config) {
  Json model = llama(config);
  model["moe"] = {{"num_experts", config.integer("num_local_experts")},
                  {"k", config.integer("num_experts_per_tok")},
                  {"expert_frequency", 1}};
  return model;
}

Json qwen3_moe(const Source& config) {
  Json model = qwen3(config);
  config.require_empty("mlp_only_layers");
  model["moe"] = {{"num_experts", config.integer("num_experts")},
                  {"k", config.integer("num_experts_per_tok")},
                  {"ffn_hidden_size", config.integer("moe_intermediate_size")},
                  {"expert_frequency",
                   1.0 / static_cast<double>(std::max<std::int64_t>(1, config.integer_or("decoder_sparse_step", 1)))}};
  return model;
}

Json deepseek(const Source& config, bool router_bias) {
  Json model = llama(config);
  model.erase("head_dim");
  // Larger ones are refused when the model is checked.
  constexpr std::int64_t most = 1'000'000'000;
  model["head_dim"] = std::clamp(config.integer("qk_nope_head_dim"), -most, most) +
                      std::clamp(config.integer("qk_rope_head_dim"), -most, most);
  model["latent_attention"] = {{"q_lora_rank", config.integer_or("q_lora_rank", 0)},
                               {"kv_lora_rank", config.integer("kv_lora_rank")},
                               {"qk_nope_head_dim", config.integer("qk_nope_head_dim")},
                               {"qk_rope_head_dim", config.integer("qk_rope_head_dim")},
                               {"v_head_dim", config.integer("v_head_dim")}};
  if (config.has("n_routed_experts"))
    model["moe"] = {{"num_experts", config.integer("n_routed_experts")},
                    {"k", config.integer("num_experts_per_tok")},
                    {"expert_frequency", 1},
                    {"ffn_hidden_size", config.integer("moe_intermediate_size")},
                    {"num_shared_experts", config.integer_or("n_shared_experts", 0)},
                    {"first_dense_layers", config.integer_or("first_k_dense_replace", 0)},
                    {"router_bias", router_bias}};
  return model;
}

Json deepseek_v2(const Source& config) { return deepseek(config, false); }
Json deepseek_v3(const Source& config) { return deepseek(config, true); }

Json gpt2(const Source& config) {
  const std::int64_t hidden = config.integer("n_embd");
  return {{"vocab_size", config.integer("vocab_size")},
          {"num_layers", config.integer("n_layer")},
          {"hidden_size", hidden},
          {"num_attention_heads", config.integer("n_head")},
          {"ffn_hidden_size", config.integer_or("n_inner", 4 * std::clamp<std::int64_t>(hidden, 0, 1'000'000'000))},
          {"max_position_embeddings", config.integer("n_positions")},
          {"activation", "gelu"},
          {"share_embeddings_and_output_weights", config.boolean_or("tie_word_embeddings", true)},
          {"hidden_dropout", config.real_or("resid_pdrop", 0.1)},
          {"attention_dropout", config.real_or("attn_pdrop", 0.1)}};
}

struct Type {
  std::string_view name;
  Json (*read)(const Source&);
};
constexpr std::array kTypes{Type{"llama", llama}, Type{"mistral", llama},           Type{"qwen2", qwen2},
                            Type{"qwen3", qwen3}, Type{"mixtral", mixtral},         Type{"qwen3_moe", qwen3_moe},
                            Type{"gpt2", gpt2},   Type{"deepseek_v2", deepseek_v2}, Type{"deepseek_v3", deepseek_v3}};

}  // namespace

Json model_of_hugging_face(const Json& config, const std::string& name, const std::string& source) {
  const auto type = json_value<std::string>(config, "model_type", source);
  const auto found = std::ranges::find(kTypes, type, &Type::name);
  if (found == kTypes.end()) {
    std::vector<std::string> known;
    for (const Type& one : kTypes) known.emplace_back(one.name);
    throw UsageError(fmt::format("{}: model_type '{}' is not known{}; known are {}; others are described in YAML",
                                 source, printable(type), did_you_mean(type, known), fmt::join(known, ", ")));
  }
  Json model = found->read(Source(config, source));
  model["name"] = name;
  for (const char* key : {"seq_length", "global_batch_size"}) model[key] = "???";
  return model;
}

}  // namespace lshdp::explore
