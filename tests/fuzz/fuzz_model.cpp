// Readers of descriptions of models, which may be Hugging Face's config.json, and of PEFT's adapter_config.json.
#include <gtest/gtest.h>

#include "lshdp/model/lora.h"
#include "lshdp/model/model.h"
#include "lshdp/model/peft.h"
#include "reader.h"

namespace lshdp::test {
namespace {

std::vector<Json> descriptions() {
  return {{{"type", "vit"},
           {"image_size", 28},
           {"channels", 1},
           {"patch_size", 4},
           {"num_layers", 2},
           {"num_heads", 4},
           {"hidden_dim", 32},
           {"mlp_dim", 64},
           {"num_classes", 10}},
          {{"type", "gpt2"}, {"n_layer", 2}, {"n_head", 2}, {"n_embd", 32}, {"n_positions", 16}, {"vocab_size", 256}},
          {{"model_type", "gpt2"},
           {"n_layer", 1},
           {"n_head", 2},
           {"n_embd", 8},
           {"n_positions", 4},
           {"vocab_size", 16},
           {"activation_function", "gelu_fast"},
           {"attn_pdrop", 0.1},
           {"pruned_heads", Json::object()},
           {"id2label", {{"0", "a"}}}},
          {{"type", "mistral"},
           {"num_hidden_layers", 1},
           {"hidden_size", 8},
           {"intermediate_size", 12},
           {"num_attention_heads", 4},
           {"num_key_value_heads", 2},
           {"head_dim", 6},
           {"max_position_embeddings", 8},
           {"vocab_size", 16},
           {"rope_parameters", {{"rope_type", "linear"}, {"rope_theta", 500.0}, {"factor", 2.0}}}},
          {{"model_type", "qwen2"},
           {"num_hidden_layers", 2},
           {"hidden_size", 8},
           {"intermediate_size", 12},
           {"num_attention_heads", 2},
           {"num_key_value_heads", 1},
           {"max_position_embeddings", 8},
           {"vocab_size", 16},
           {"tie_word_embeddings", true},
           {"rope_theta", 1e6},
           {"rope_scaling",
            {{"rope_type", "llama3"},
             {"factor", 8.0},
             {"low_freq_factor", 1.0},
             {"high_freq_factor", 4.0},
             {"original_max_position_embeddings", 4}}},
           {"use_sliding_window", true},
           {"sliding_window", 8},
           {"layer_types", {"full_attention", "full_attention"}}},
          {{"type", "mlp"}, {"input_size", 784}, {"hidden_sizes", {64, 32}}, {"output_size", 10}},
          read_json(LSHDP_TRACED)};
}

void build(const Json& description) {
  const model::Model model = model::make_model_from_json(description, "model.json");
  EXPECT_FALSE(model.blocks.empty());
  EXPECT_GT(model.parameter_count(), 0) << description;
  // The complete description builds the same model, and so does what is written beside its weights.
  EXPECT_EQ(model::make_model_from_json(model::config_of(model, at::kFloat), "again").description, model.description);
  EXPECT_EQ(model::make_model_from_json(model.description, "again").parameter_count(), model.parameter_count());
}

std::vector<Json> adapter_configs() {
  return {{{"peft_type", "LORA"},
           {"task_type", "CAUSAL_LM"},
           {"r", 2},
           {"lora_alpha", 4},
           {"lora_dropout", 0.5},
           {"target_modules", {"c_attn", "c_proj"}},
           {"bias", "none"},
           {"fan_in_fan_out", true},
           {"use_rslora", true},
           {"init_lora_weights", "gaussian"},
           {"modules_to_save", nullptr},
           {"rank_pattern", Json::object()}},
          {{"peft_type", "LORA"}, {"r", 1}, {"lora_alpha", 1.5}, {"target_modules", "all-linear"}}};
}

/// What is accepted fits a model, or is refused with it, and is read back the same.
void adapt(const Json& config) {
  const model::LoraSettings settings = model::read_adapter_config(config, "adapter_config.json");
  const model::Model adapted =
      model::with_lora(model::make_model_from_json(descriptions()[1], "model.json"), settings, "adapter_config.json");
  const model::LoraSettings again = model::read_adapter_config(model::adapter_config(adapted, ""), "again");
  EXPECT_EQ(again.rank, settings.rank);
  EXPECT_EQ(again.alpha, settings.alpha);
}

}  // namespace

std::vector<Reader> readers() {
  return {json_reader("ModelConfig", descriptions, build), json_reader("AdapterConfig", adapter_configs, adapt)};
}

}  // namespace lshdp::test
