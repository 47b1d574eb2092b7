// A model is a chain of blocks: each a pure function of one tensor and of parameters that somebody else keeps.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace lshdp::model {

/// How a parameter is drawn before training.
struct Init {
  enum class Kind : std::uint8_t { zeros, ones, normal, truncated_normal, uniform } kind = Kind::zeros;
  // Standard deviation (normal, truncated_normal), or bound: uniform in [-scale, scale]. truncated_normal cuts at [-2,
  // 2], whatever the deviation, as torch.nn.init.trunc_normal_ does.
  double scale = 0;
};

/// One parameter as the outside sees it.
struct Parameter {
  std::string name;  // as torchvision or Hugging Face call it, e.g. "encoder.layers.encoder_layer_0.ln_1.weight"
  std::vector<std::int64_t> shape;  // as stored in their files
  Init init;
  bool decay = true;  // weight decay applies: to whatever has two dimensions or more, so not to biases and norms
};

/// What a block keeps of the positions that a sequence has had, so that later ones need not compute them again.
struct BlockCache {
  std::int64_t positions = 0;
  at::Tensor keys, values;  // [B, heads, room, width / heads], of which `positions` are filled; undefined: none needed
};

/// A stateless function of one tensor. Differentiable through autograd; owns no tensors, so that any store can supply
/// them.
class Block {
 public:
  virtual ~Block() = default;
  /// For messages and traces, e.g. "layer 3".
  virtual const std::string& name() const = 0;
  /// The parameters this block owns, in a fixed order.
  virtual const std::vector<Parameter>& parameters() const = 0;
  /// Names of the parameters of other blocks that it also uses (a tied embedding); forward() gets them after its own.
  virtual const std::vector<std::string>& borrowed() const = 0;
  /// The parameter of its own, if any, that is a table: `input`, then of integers, says which rows are looked up, and
  /// with a part of the rows and their numbers within it forward() gives the same.
  virtual std::optional<std::size_t> looked_up() const { return std::nullopt; }
  /// `parameters`: parameters() then borrowed(), all of one floating type, with these shapes. `input`: see Model.
  virtual at::Tensor forward(const at::Tensor& input, std::span<const at::Tensor> parameters) const = 0;
  /// For generation, without gradients: `input` holds the positions [B, T, ..] that follow those of `cache`. Returns
  /// what forward() gives at these positions for all of them together, and adds them to the cache; the model's last
  /// block gives the logits of the last position alone. Throws std::logic_error if the block's model reads no tokens.
  virtual at::Tensor forward_next(const at::Tensor& input, std::span<const at::Tensor> parameters,
                                  BlockCache& cache) const = 0;
};

}  // namespace lshdp::model
