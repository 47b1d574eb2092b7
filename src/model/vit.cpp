// Vision transformer with the names, numbers and first values of torchvision's VisionTransformer.
#include <cmath>

#include "architectures.h"
#include "layers.h"
#include "linear.h"
#include "lshdp/model/fine_tuning.h"

namespace lshdp::model {
namespace {

constexpr double kEpsilon = 1e-6;

struct Sizes {
  std::int64_t channels, image, patch, layers, heads, hidden, mlp, classes;
  double dropout, stochastic_depth;  // while it trains
  /// With which a branch of the layer is dropped: rising from 0 to that of the last.
  double drop_of_branch(std::int64_t layer) const {
    return layers == 1 ? stochastic_depth
                       : stochastic_depth * static_cast<double>(layer) / static_cast<double>(layers - 1);
  }
  std::int64_t patches_a_side() const { return image / patch; }
  std::int64_t tokens() const { return patches_a_side() * patches_a_side() + 1; }
};

/// torchvision draws this one by trunc_normal_, which cuts at [-2, 2].
Parameter patch_weight(const Sizes& s) {
  const double fan_in = static_cast<double>(s.channels * s.patch * s.patch);
  return parameter("conv_proj.weight", {s.hidden, s.channels, s.patch, s.patch},
                   {Init::Kind::truncated_normal, std::sqrt(1 / fan_in)});
}

/// [B, channels, image, image] -> [B, tokens, hidden]: patches projected, class token in front, positions added.
class Embedding final : public ListedBlock {
 public:
  explicit Embedding(const Sizes& s)
      : ListedBlock("embedding", {patch_weight(s), parameter("conv_proj.bias", {s.hidden}, kZeros),
                                  parameter("class_token", {1, 1, s.hidden}, kZeros),
                                  parameter("encoder.pos_embedding", {1, s.tokens(), s.hidden}, normal(0.02))}),
        sizes_(s) {}

 private:
  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    const at::Tensor tokens = linear_layer(patches(input), p[0].flatten(1), p[1]);
    const at::Tensor class_token = p[2].expand({input.size(0), 1, sizes_.hidden});
    return p.dropped(at::cat({class_token, tokens}, 1) + p[3], sizes_.dropout, "encoder.dropout");
  }

  /// A convolution whose stride is its kernel is a matrix product of the patches: [B, patches, channels * patch *
  /// patch].
  at::Tensor patches(const at::Tensor& images) const {
    const std::int64_t side = sizes_.patches_a_side(), patch = sizes_.patch;
    return images.reshape({images.size(0), sizes_.channels, side, patch, side, patch})
        .permute({0, 2, 4, 1, 3, 5})
        .reshape({images.size(0), side * side, sizes_.channels * patch * patch});
  }

  Sizes sizes_;
};

std::string prefix(std::int64_t layer) { return "encoder.layers.encoder_layer_" + std::to_string(layer) + "."; }

/// First half of a layer: [B, tokens, hidden] -> the same: x + attention(norm(x)).
class Attention final : public ListedBlock {
 public:
  Attention(const Sizes& s, std::int64_t layer)
      : ListedBlock("attention " + std::to_string(layer), make_parameters(s, prefix(layer))),
        sizes_(s),
        layer_(layer) {}

 private:
  enum : std::size_t { norm_w, norm_b, in_w, in_b, out_w, out_b };

  static std::vector<Parameter> make_parameters(const Sizes& s, const std::string& name) {
    const std::int64_t h = s.hidden;
    std::vector<Parameter> list;
    add_layer_norm(list, name + "ln_1", h);
    list.push_back(linear_weight(name + "self_attention.in_proj_weight", {3 * h, h}, xavier_uniform(3 * h, h)));
    list.push_back(parameter(name + "self_attention.in_proj_bias", {3 * h}, kZeros));
    list.push_back(linear_weight(name + "self_attention.out_proj.weight", {h, h}, linear_default(h)));
    list.push_back(parameter(name + "self_attention.out_proj.bias", {h}, kZeros));
    return list;
  }

  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    const at::Tensor normed = at::layer_norm(input, {input.size(2)}, p[norm_w], p[norm_b], kEpsilon);
    const at::Tensor mixed =
        attention(split_heads(p.linear(in_w, normed, without_key_bias(p[in_b])), sizes_.heads), false);
    const std::string place = prefix(layer_) + "self_attention";
    const at::Tensor branch = p.dropped(p.linear(out_w, mixed, p[out_b]), sizes_.dropout, place + ".dropout");
    return p.dropped_whole(branch, sizes_.drop_of_branch(layer_), place) + input;
  }

  Sizes sizes_;
  std::int64_t layer_;
};

/// Second half of a layer: [B, tokens, hidden] -> the same: x + mlp(norm(x)).
class Mlp final : public ListedBlock {
 public:
  Mlp(const Sizes& s, std::int64_t layer)
      : ListedBlock("mlp " + std::to_string(layer), make_parameters(s, prefix(layer))), sizes_(s), layer_(layer) {}

 private:
  enum : std::size_t { norm_w, norm_b, up_w, up_b, down_w, down_b };

  static std::vector<Parameter> make_parameters(const Sizes& s, const std::string& name) {
    const std::int64_t h = s.hidden;
    std::vector<Parameter> list;
    add_layer_norm(list, name + "ln_2", h);
    list.push_back(linear_weight(name + "mlp.0.weight", {s.mlp, h}, xavier_uniform(s.mlp, h)));
    list.push_back(parameter(name + "mlp.0.bias", {s.mlp}, normal(1e-6)));
    list.push_back(linear_weight(name + "mlp.3.weight", {h, s.mlp}, xavier_uniform(h, s.mlp)));
    list.push_back(parameter(name + "mlp.3.bias", {h}, normal(1e-6)));
    return list;
  }

  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    const at::Tensor normed = at::layer_norm(input, {input.size(2)}, p[norm_w], p[norm_b], kEpsilon);
    const std::string place = prefix(layer_) + "mlp";
    const at::Tensor up = p.dropped(at::gelu(p.linear(up_w, normed, p[up_b])), sizes_.dropout, place + ".2");
    const at::Tensor branch = p.dropped(p.linear(down_w, up, p[down_b]), sizes_.dropout, place + ".4");
    return input + p.dropped_whole(branch, sizes_.drop_of_branch(layer_), place);
  }

  Sizes sizes_;
  std::int64_t layer_;
};

std::vector<Parameter> head_parameters(const Sizes& s) {
  std::vector<Parameter> list;
  add_layer_norm(list, "encoder.ln", s.hidden);
  list.push_back(linear_weight("heads.head.weight", {s.classes, s.hidden}, kZeros));
  list.push_back(parameter("heads.head.bias", {s.classes}, kZeros));
  return list;
}

/// [B, tokens, hidden] -> logits [B, classes], from the class token alone.
class Head final : public ListedBlock {
 public:
  explicit Head(const Sizes& s) : ListedBlock("head", head_parameters(s)) {}

 private:
  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    return p.linear(2, at::layer_norm(input.select(1, 0), {input.size(2)}, p[0], p[1], kEpsilon), p[3]);
  }
};

Sizes read_sizes(Description& d) {
  Sizes s{};
  s.channels = d.size_or("channels", 3);
  s.image = d.size("image_size", kLargestImage);
  s.patch = d.size("patch_size", kLargestImage);
  s.layers = d.size("num_layers", kMaxLayers);
  s.heads = d.size("num_heads");
  s.hidden = d.size("hidden_dim");
  s.mlp = d.size("mlp_dim");
  s.classes = d.size_or("num_classes", 1000);
  s.dropout = d.dropout(kDropoutKey);
  s.stochastic_depth = d.dropout(kStochasticDepthKey);
  d.ignore_dropout("attention_dropout");
  d.allow_only("representation_size", nullptr);
  d.allow_only("conv_stem_configs", nullptr);
  for (const char* key : {"architectures", "torch_dtype", "dtype"}) d.ignore(key);
  d.refuse_unknown_keys();
  d.require_divides("image_size", s.image, "patch_size", s.patch);
  d.require_divides("hidden_dim", s.hidden, "num_heads", s.heads);
  return s;
}

}  // namespace

Model make_vit(Description& description, const std::string& name) {
  const Sizes s = read_sizes(description);
  Model model;
  model.dropout = description.dropped();
  model.name = name;
  model.description = {{"type", "vit"},          {"channels", s.channels}, {"image_size", s.image},
                       {"patch_size", s.patch},  {"num_layers", s.layers}, {"num_heads", s.heads},
                       {"hidden_dim", s.hidden}, {"mlp_dim", s.mlp},       {"num_classes", s.classes}};
  if (s.dropout > 0) model.description[kDropoutKey] = s.dropout;
  if (s.stochastic_depth > 0) model.description[kStochasticDepthKey] = s.stochastic_depth;
  model.input.kind = InputSpec::Kind::image;
  model.input.channels = s.channels;
  model.input.image_size = s.image;
  model.input.classes = s.classes;
  model.blocks.push_back(std::make_unique<Embedding>(s));
  // Two blocks a layer: what the step's boundary waits for is half as much (docs/design.md, "A step").
  for (std::int64_t i = 0; i < s.layers; ++i) {
    model.blocks.push_back(std::make_unique<Attention>(s, i));
    model.blocks.push_back(std::make_unique<Mlp>(s, i));
  }
  model.blocks.push_back(std::make_unique<Head>(s));
  return model;
}

}  // namespace lshdp::model
