// What the blocks of all models share: parameters with their first values, attention, and a block that keeps its lists.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lshdp/model/block.h"

namespace lshdp::model {

constexpr Init kZeros{Init::Kind::zeros, 0};
constexpr Init kOnes{Init::Kind::ones, 0};
Init normal(double deviation);
/// torch.nn.init.xavier_uniform_ of a [fan_out, fan_in] matrix.
Init xavier_uniform(std::int64_t fan_out, std::int64_t fan_in);
/// What torch.nn.Linear gives its weight and its bias.
Init linear_default(std::int64_t fan_in);

/// A parameter that decays if it has two dimensions or more (see Parameter::decay).
Parameter parameter(std::string name, std::vector<std::int64_t> shape, Init init);
/// The weight [out, in] of a linear layer, for Tensors::linear().
Parameter linear_weight(std::string name, std::vector<std::int64_t> shape, Init init);
/// The same, [in, out], as GPT-2's Conv1D has it.
Parameter conv1d_weight(std::string name, std::vector<std::int64_t> shape, Init init);
/// The layer's name, of that of its weight: without ".weight" or "_weight".
std::string layer_of(std::string_view weight);
/// Appends NAME.weight [width] of ones and NAME.bias [width] of zeros.
void add_layer_norm(std::vector<Parameter>& parameters, const std::string& name, std::int64_t width);

/// The bias of q, k, v side by side [3 * width] with the key's part left out. It adds the same to every score of a
/// query, which softmax does not see: outputs are the same, and its gradient is the 0 that exact arithmetic gives
/// instead of rounding noise, which AdamW would turn into whole steps that differ from split to split.
at::Tensor without_key_bias(const at::Tensor& bias);

/// Each [B, heads, T, d]. Of keys and values there may be fewer heads: each is then of as many queries that follow each
/// other.
struct Heads {
  at::Tensor query, key, value;
};
/// Of q, k, v side by side: [B, T, 3 * width], with d = width / heads.
Heads split_heads(const at::Tensor& query_key_value, std::int64_t heads);

/// Multi-head attention -> [B, T, heads * d].
at::Tensor attention(const Heads& heads, bool causal);
/// Causal attention within each of the documents.
at::Tensor causal_attention(const Heads& heads, const Documents& documents);
/// Causal attention of T positions that follow those of `cache`, which keeps their keys and values -> [B, T, heads *
/// d].
at::Tensor cached_attention(const Heads& heads, BlockCache& cache);

/// Throws UsageError where a sequence has more tokens than the model has positions.
void require_positions(std::int64_t tokens, std::int64_t positions);

/// What a block computes with: its parameters, and those it borrows, by number, and products with its linear layers.
class Tensors {
 public:
  Tensors(const std::vector<Parameter>& own, std::span<const at::Tensor> tensors, const Pass& pass)
      : own_(own), tensors_(tensors), pass_(pass) {}

  const at::Tensor& operator[](std::size_t number) const { return tensors_[number]; }
  const Documents& documents() const { return pass_.documents; }
  /// [.., in] -> [.., out]: the linear layer whose weight has this number, with what an adapter adds to it.
  at::Tensor linear(std::size_t weight, const at::Tensor& input, const std::optional<at::Tensor>& bias = {}) const;
  /// In training, `input` [B, ..] with keyed_dropout(). `place` tells where in the model it is.
  at::Tensor dropped(const at::Tensor& input, double probability, std::string_view place) const;
  /// The same of all that a sample has, or none of it: stochastic depth (Huang et al. 2016, arXiv 1603.09382).
  at::Tensor dropped_whole(const at::Tensor& branch, double probability, std::string_view place) const;

 private:
  const std::vector<Parameter>& own_;
  std::span<const at::Tensor> tensors_;
  const Pass& pass_;
};

/// A block that holds its lists; models supply run(), and those that generate text run_next().
class ListedBlock : public Block {
 public:
  ListedBlock(std::string name, std::vector<Parameter> parameters, std::vector<std::string> borrowed = {});
  const std::string& name() const final { return name_; }
  const std::vector<Parameter>& parameters() const final { return parameters_; }
  const std::vector<std::string>& borrowed() const final { return borrowed_; }
  /// Throws std::invalid_argument on a wrong number of parameters.
  at::Tensor forward(const at::Tensor& input, std::span<const at::Tensor> parameters, const Pass& pass) const final;
  at::Tensor forward_next(const at::Tensor& input, std::span<const at::Tensor> parameters, BlockCache& cache,
                          const Pass& pass) const final;

 private:
  void require_count(std::span<const at::Tensor> parameters) const;
  virtual at::Tensor run(const at::Tensor& input, const Tensors& parameters) const = 0;
  virtual at::Tensor run_next(const at::Tensor& input, const Tensors& parameters, BlockCache& cache) const;

  std::string name_;
  std::vector<Parameter> parameters_;
  std::vector<std::string> borrowed_;
};

}  // namespace lshdp::model
