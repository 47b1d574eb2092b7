// Runs a whole model in one autograd graph: what tests compare block-wise walking and other libraries with.
#pragma once
#include "lshdp/model/model.h"
#include "lshdp/model/weights.h"

namespace lshdp::model::test {

/// The parameters block `b` is called with: its own, then the borrowed ones.
inline std::vector<at::Tensor> parameters_of(const Model& model, const Values& values, std::size_t b) {
  std::vector<at::Tensor> list = values[b];
  for (const std::string& name : model.blocks[b]->borrowed()) {
    const ParameterPlace owner = model.owner_of(name);
    list.push_back(values[owner.block][owner.parameter]);
  }
  return list;
}

inline at::Tensor logits_of(const Model& model, const Values& values, at::Tensor input) {
  for (std::size_t b = 0; b < model.blocks.size(); ++b) {
    const std::vector<at::Tensor> parameters = parameters_of(model, values, b);
    input = model.blocks[b]->forward(input, parameters);
  }
  return input;
}

/// Leaves of `type` that want gradients.
inline Values leaves(const Values& values, at::ScalarType type) {
  Values copies = values;
  for (auto& block : copies) {
    for (at::Tensor& value : block) value = value.detach().to(type, false, true).requires_grad_();
  }
  return copies;
}

inline std::vector<at::Tensor> flat(const Values& values) {
  std::vector<at::Tensor> list;
  for (const auto& block : values) list.insert(list.end(), block.begin(), block.end());
  return list;
}

/// Gradients of the scalar `loss`, in the order of flat(values).
inline std::vector<at::Tensor> gradients_of(const at::Tensor& loss, const Values& values) {
  return torch::autograd::grad({loss}, flat(values));
}

/// Norm of the difference over norm of `expected`.
inline double relative_difference(const at::Tensor& actual, const at::Tensor& expected) {
  const at::Tensor wanted = expected.detach().to(at::kDouble);
  return ((actual.detach().to(at::kDouble) - wanted).norm() / wanted.norm()).item<double>();
}

inline const nlohmann::json kSmallVit = {{"type", "vit"},    {"image_size", 8}, {"channels", 2},
                                         {"patch_size", 4},  {"num_layers", 2}, {"num_heads", 2},
                                         {"hidden_dim", 16}, {"mlp_dim", 24},   {"num_classes", 5}};
inline const nlohmann::json kSmallGpt = {{"type", "gpt2"}, {"n_layer", 2},     {"n_head", 2},
                                         {"n_embd", 16},   {"n_positions", 6}, {"vocab_size", 11}};
// A head of its own, and biases. The other: keys that heads share, and the embedding as its head.
inline const nlohmann::json kSmallLlama = {
    {"type", "llama"},         {"num_hidden_layers", 2},   {"hidden_size", 16},
    {"intermediate_size", 24}, {"num_attention_heads", 2}, {"max_position_embeddings", 6},
    {"vocab_size", 11},        {"attention_bias", true},   {"mlp_bias", true}};
inline const nlohmann::json kSmallQwen = {
    {"type", "qwen2"},         {"num_hidden_layers", 2},       {"hidden_size", 16},
    {"intermediate_size", 24}, {"num_attention_heads", 4},     {"num_key_value_heads", 2},
    {"vocab_size", 11},        {"max_position_embeddings", 6}, {"tie_word_embeddings", true}};
inline const nlohmann::json kSmallMlp = {
    {"type", "mlp"}, {"input_size", 12}, {"hidden_sizes", {8, 6}}, {"output_size", 4}};

}  // namespace lshdp::model::test
