// A model is a chain of blocks: each a pure function of one tensor and of parameters that somebody else keeps.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lshdp/model/base_precision.h"

namespace lshdp::model {

/// How a parameter is drawn before training.
struct Init {
  enum class Kind : std::uint8_t { zeros, ones, normal, truncated_normal, uniform } kind = Kind::zeros;
  // Standard deviation (normal, truncated_normal), or bound: uniform in [-scale, scale]. truncated_normal cuts at [-2,
  // 2], whatever the deviation, as torch.nn.init.trunc_normal_ does.
  double scale = 0;
};

/// Whether a parameter is the weight of a linear layer, which adapters can be added to, and how it lies: [out, in], or
/// [in, out] as GPT-2's Conv1D has it.
enum class Product : std::uint8_t { none, linear, conv1d };

/// One parameter as the outside sees it.
struct Parameter {
  std::string name;  // as torchvision or Hugging Face call it, e.g. "encoder.layers.encoder_layer_0.ln_1.weight"
  std::vector<std::int64_t> shape;  // as stored in their files
  Init init;
  bool decay = true;  // weight decay applies: to whatever has two dimensions or more, so not to biases and norms
  Product product = Product::none;
  double rate = 1;        // its learning rate is so many times that of the run
  bool trainable = true;  // false: it stays as it is; it has no gradient and no moments, and is in no checkpoint
  BasePrecision held = BasePrecision::full;  // of one that is not trained

  std::int64_t count() const {
    return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
  }
};

/// A low-rank addition to a linear layer of a block (see lora.h).
struct Adapter {
  std::size_t weight = 0;  // of the layer, among the block's parameters
  at::Tensor a, b;         // [rank, in], [out, rank]
  double scale = 0, dropout = 0;
  std::uint64_t layer = 0;  // tells layers of the model apart in dropout
};

/// What dropout is drawn by: the same elements of a sample are dropped however the step's batch is split.
struct DropoutKey {
  std::uint64_t seed = 0;         // of the run
  std::int64_t step = 0;          // of the run
  std::int64_t first_sample = 0;  // the number of the first sample in the order that all ranks know; others follow it
};

/// Documents that share a sample of tokens. Each attends to itself alone, as if the others were not there.
struct Documents {
  at::Tensor positions;  // int64 [B, T]: of each token in its document; undefined: each sample is one document
  at::Tensor mask;       // [B, 1, T, T] of the compute type: 0 where a position (row) sees another, else -infinity
};

/// `positions`, which begin at 0 with each document, and what follows from them; nothing if they are undefined.
Documents documents_of(const at::Tensor& positions, at::ScalarType compute_type);
/// Of the samples [begin, begin + count); undefined if `positions` are.
at::Tensor part_of(const at::Tensor& positions, std::int64_t begin, std::int64_t count);

/// What goes into a forward pass beside the input and the parameters.
struct Pass {
  std::optional<DropoutKey> dropout = std::nullopt;  // none: nothing is dropped
  std::span<const Adapter> adapters = {};
  Documents documents = {};  // of a model with Model::keeps_documents_apart
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
  virtual at::Tensor forward(const at::Tensor& input, std::span<const at::Tensor> parameters,
                             const Pass& pass) const = 0;
  at::Tensor forward(const at::Tensor& input, std::span<const at::Tensor> parameters) const {
    return forward(input, parameters, Pass{});
  }
  /// For generation, without gradients: `input` holds the positions [B, T, ..] that follow those of `cache`. Returns
  /// what forward() gives at these positions for all of them together, and adds them to the cache; the model's last
  /// block gives the logits of the last position alone. Throws std::logic_error if the block's model reads no tokens.
  virtual at::Tensor forward_next(const at::Tensor& input, std::span<const at::Tensor> parameters, BlockCache& cache,
                                  const Pass& pass) const = 0;
  at::Tensor forward_next(const at::Tensor& input, std::span<const at::Tensor> parameters, BlockCache& cache) const {
    return forward_next(input, parameters, cache, Pass{});
  }
};

}  // namespace lshdp::model
