// Small models of every kind, and batches cut into micro-batches, for tests of the parallel floor.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/model/lora.h"
#include "lshdp/model/model.h"

namespace lshdp::test {

inline model::Model small_vit() {
  return model::make_model_from_json({{"type", "vit"},
                                      {"image_size", 8},
                                      {"channels", 1},
                                      {"patch_size", 4},
                                      {"num_layers", 3},
                                      {"num_heads", 2},
                                      {"hidden_dim", 16},
                                      {"mlp_dim", 32},
                                      {"num_classes", 5}},
                                     "small vit");
}

/// Many blocks of one size, none of which matters.
inline model::Model deep_vit() {
  return model::make_model_from_json({{"type", "vit"},
                                      {"image_size", 8},
                                      {"channels", 1},
                                      {"patch_size", 4},
                                      {"num_layers", 24},
                                      {"num_heads", 2},
                                      {"hidden_dim", 32},
                                      {"mlp_dim", 64},
                                      {"num_classes", 5}},
                                     "deep vit");
}

inline model::Model small_gpt() {
  return model::make_model_from_json(
      {{"type", "gpt2"}, {"n_layer", 2}, {"n_head", 2}, {"n_embd", 16}, {"n_positions", 8}, {"vocab_size", 23}},
      "small gpt");
}

/// Adapters with dropout beside some of its layers.
inline model::Model small_gpt_lora() {
  return model::with_lora(small_gpt(), {.rank = 3, .alpha = 6, .dropout = 0.25, .targets = {"c_attn", "c_proj"}},
                          "small gpt");
}

/// The first blocks and the last have none.
inline model::Model small_vit_lora() {
  return model::with_lora(small_vit(), {.rank = 2, .alpha = 3, .targets = {"mlp.3"}}, "small vit");
}

/// Samples hold documents that are kept apart.
inline model::Model packed_gpt() {
  model::Model model = small_gpt();
  model.input.documents = true;
  return model;
}

/// The same, of rotary positions, with adapters.
inline model::Model packed_llama_lora() {
  model::Model model =
      model::with_lora(model::make_model_from_json({{"type", "llama"},
                                                    {"num_hidden_layers", 2},
                                                    {"hidden_size", 16},
                                                    {"intermediate_size", 24},
                                                    {"num_attention_heads", 2},
                                                    {"num_key_value_heads", 1},
                                                    {"max_position_embeddings", 8},
                                                    {"vocab_size", 23}},
                                                   "small llama"),
                       {.rank = 3, .alpha = 6, .dropout = 0.25, .targets = {"all-linear"}}, "small llama");
  model.input.documents = true;
  return model;
}

inline model::Model small_mlp() {
  return model::make_model_from_json(
      {{"type", "mlp"}, {"input_size", 12}, {"hidden_sizes", {16, 8}}, {"output_size", 4}}, "small mlp");
}

/// `samples` in micro-batches of `size`, the last one smaller where they do not divide.
inline std::vector<std::int64_t> micro_batches_of(std::int64_t samples, std::int64_t size) {
  std::vector<std::int64_t> sizes;
  for (; samples > 0; samples -= sizes.back()) sizes.push_back(std::min(size, samples));
  return sizes;
}

}  // namespace lshdp::test
