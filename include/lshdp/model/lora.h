// LoRA: low-rank adapters beside the linear layers of a model whose own parameters stay as they are.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

#include "lshdp/model/model.h"
#include "lshdp/model/weights.h"

namespace lshdp::model {

/// A linear layer with weight W gives W x + scale() * B A drop(x): A [rank, in] is drawn, B [out, rank] begins at 0 (Hu
/// et al. 2021, arXiv 2106.09685). Only A and B are trained.
struct LoraSettings {
  std::int64_t rank = 0;
  double alpha = 0;
  double dropout = 0;            // of the adapter's input, in [0, 1)
  bool rank_stabilized = false;  // alpha / sqrt(rank) in place of alpha / rank (Kalajdzievski 2023, arXiv 2312.03732)
  /// Names of linear layers, or their ends ("q_proj" for each "model.layers.N.self_attn.q_proj"); "all-linear": all but
  /// the one that gives the logits.
  std::vector<std::string> targets;
  BasePrecision base = BasePrecision::full;  // of the weights of linear layers, but for the one that gives the logits

  double scale() const;
  bool operator==(const LoraSettings&) const = default;
};

/// "r=16,alpha=32,dropout=0.05,targets=q_proj,v_proj", with rslora=true if wanted; alpha is r, dropout 0 where they
/// are left out. Throws UsageError naming --lora.
LoraSettings parse_lora(const std::string& text);
/// As --lora takes them.
std::string to_text(const LoraSettings& settings);
/// Whether both say the same of the adapters of `base`, in other words maybe: targets in another order, or by other
/// names. Throws UsageError as targets_of() of `a`, which `source` names.
bool same_adapters(const Model& base, const LoraSettings& a, const LoraSettings& b, const std::string& source);
/// Where Model::description holds them.
inline constexpr const char* kLoraKey = "lora";
/// As it stands there.
nlohmann::json to_json(const LoraSettings& settings);
/// Throws UsageError naming `source`.
LoraSettings lora_from_json(const nlohmann::json& object, const std::string& source);

/// A linear layer that adapters can be added to.
struct LinearLayer {
  std::string name;  // without ".weight"
  ParameterPlace weight;
  Product product = Product::linear;
  std::int64_t in = 0, out = 0;
};
/// All of them, in the model's order.
std::vector<LinearLayer> linear_layers(const Model& model);
/// The ends of their names that tell kinds of layers apart ("q_proj", "mlp.0"), each once.
std::vector<std::string> target_names(const std::vector<LinearLayer>& layers);
/// Those that `settings` names. Throws UsageError naming `source`: a target that is none, with those that there are.
std::vector<LinearLayer> targets_of(const Model& model, const LoraSettings& settings, const std::string& source);

/// `base` with adapters: each block's own parameters come first and are not trained, then A and B of each of its
/// targets, named LAYER.lora_A.weight and LAYER.lora_B.weight. Throws UsageError naming `source` as targets_of().
Model with_lora(Model base, const LoraSettings& settings, const std::string& source);
/// The settings of such a model; none: it has no adapters.
std::optional<LoraSettings> lora_of(const Model& model);
/// The model without its adapters.
Model base_of(const Model& model);

/// What an adapter adds to the weight of its layer, in the weight's orientation: scale * B A. A and B of any floating
/// type; the product is taken in at least float32.
at::Tensor weight_change(const at::Tensor& a, const at::Tensor& b, const LoraSettings& settings, Product product);

}  // namespace lshdp::model
