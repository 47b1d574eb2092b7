// First values, attention and the common part of blocks.
#include "layers.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>

#include <fmt/format.h>

#include "dropout.h"
#include "linear.h"
#include "lshdp/core/error.h"
#include "lshdp/core/mix.h"

namespace lshdp::model {

Init normal(double deviation) { return {Init::Kind::normal, deviation}; }

Init xavier_uniform(std::int64_t fan_out, std::int64_t fan_in) {
  return {Init::Kind::uniform, std::sqrt(6.0 / static_cast<double>(fan_out + fan_in))};
}

Init linear_default(std::int64_t fan_in) { return {Init::Kind::uniform, 1 / std::sqrt(static_cast<double>(fan_in))}; }

Parameter parameter(std::string name, std::vector<std::int64_t> shape, Init init) {
  const bool decay = shape.size() > 1;
  return {std::move(name), std::move(shape), init, decay};
}

namespace {

Parameter weight_of(Parameter weight, Product product) {
  weight.product = product;
  return weight;
}

}  // namespace

Parameter linear_weight(std::string name, std::vector<std::int64_t> shape, Init init) {
  return weight_of(parameter(std::move(name), std::move(shape), init), Product::linear);
}

Parameter conv1d_weight(std::string name, std::vector<std::int64_t> shape, Init init) {
  return weight_of(parameter(std::move(name), std::move(shape), init), Product::conv1d);
}

std::string layer_of(std::string_view weight) {
  constexpr std::string_view end = "weight";
  if (!weight.ends_with(end) || weight.size() < end.size() + 2)
    throw std::logic_error(fmt::format("{} is no name of a linear layer's weight", weight));
  return std::string(weight.substr(0, weight.size() - end.size() - 1));
}

void add_layer_norm(std::vector<Parameter>& parameters, const std::string& name, std::int64_t width) {
  parameters.push_back(parameter(name + ".weight", {width}, kOnes));
  parameters.push_back(parameter(name + ".bias", {width}, kZeros));
}

at::Tensor without_key_bias(const at::Tensor& bias) {
  const std::vector<at::Tensor> parts = bias.chunk(3);
  return at::cat({parts[0], at::zeros_like(parts[1]), parts[2]});
}

Heads split_heads(const at::Tensor& query_key_value, std::int64_t heads) {
  const std::int64_t batch = query_key_value.size(0), length = query_key_value.size(1);
  const std::int64_t width = query_key_value.size(2) / 3;
  const std::vector<at::Tensor> parts =
      query_key_value.view({batch, length, 3, heads, width / heads}).permute({2, 0, 3, 1, 4}).unbind(0);
  return {parts[0], parts[1], parts[2]};
}

namespace {

/// [B, heads, T, d] -> [B, T, heads * d].
at::Tensor join_heads(const at::Tensor& mixed) {
  return mixed.transpose(1, 2).reshape({mixed.size(0), mixed.size(2), mixed.size(1) * mixed.size(3)});
}

/// Keys or values, one head for each of `count` queries. A copy: the kernels that need no table of all scores want as
/// many.
at::Tensor repeated(const at::Tensor& heads, std::int64_t count) {
  if (heads.size(1) == count) return heads;
  return heads.unsqueeze(2).expand({-1, -1, count / heads.size(1), -1, -1}).flatten(1, 2);
}

at::Tensor mix(const Heads& heads, const std::optional<at::Tensor>& mask, bool causal) {
  const std::int64_t count = heads.query.size(1);
  return at::scaled_dot_product_attention(heads.query, repeated(heads.key, count), repeated(heads.value, count), mask,
                                          0.0, causal);
}

/// Of one position, which sees all: queries that share a key are rows of one product, so that nothing is repeated.
at::Tensor mix_one(const Heads& heads) {
  const at::Tensor& q = heads.query;
  const at::Tensor rows = q.reshape({q.size(0), heads.key.size(1), -1, q.size(3)});
  return at::scaled_dot_product_attention(rows, heads.key, heads.value).reshape(q.sizes());
}

}  // namespace

at::Tensor attention(const Heads& heads, bool causal) { return join_heads(mix(heads, {}, causal)); }

at::Tensor causal_attention(const Heads& heads, const Documents& documents) {
  if (!documents.mask.defined()) return attention(heads, /*causal=*/true);
  return join_heads(mix(heads, documents.mask, /*causal=*/false));
}

namespace {

constexpr std::int64_t kLeastRoom = 64;  // positions

/// `store` with `added` [B, heads, T, d] from `at` on; of twice the room where that is used up.
void append(at::Tensor& store, const at::Tensor& added, std::int64_t at) {
  const std::int64_t needed = at + added.size(2);
  if (!store.defined() || store.size(2) < needed) {
    std::vector<std::int64_t> shape = added.sizes().vec();
    shape[2] = std::max(kLeastRoom, 2 * needed);
    const at::Tensor larger = at::empty(shape, added.options());
    if (store.defined()) larger.narrow(2, 0, at).copy_(store.narrow(2, 0, at));
    store = larger;
  }
  store.narrow(2, at, added.size(2)).copy_(added);
}

}  // namespace

at::Tensor cached_attention(const Heads& heads, BlockCache& cache) {
  const std::int64_t length = heads.query.size(2), before = cache.positions, all = before + length;
  append(cache.keys, heads.key, before);
  append(cache.values, heads.value, before);
  cache.positions = all;
  const Heads seen = {heads.query, cache.keys.narrow(2, 0, all), cache.values.narrow(2, 0, all)};
  if (length == 1) return join_heads(mix_one(seen));
  // The first positions see each other as ever; later ones need to be told what lies behind them.
  if (before == 0) return join_heads(mix(seen, {}, /*causal=*/true));
  return join_heads(mix(seen, at::ones({length, all}, at::kBool).tril(before).to(heads.query.device()), false));
}

void require_positions(std::int64_t tokens, std::int64_t positions) {
  if (tokens <= positions) return;
  throw UsageError(
      fmt::format("{} tokens in a row, but the model has {} positions; use shorter sequences", tokens, positions));
}

at::Tensor Tensors::dropped(const at::Tensor& input, double probability, std::string_view place) const {
  return pass_.dropout ? keyed_dropout(input, probability, hash_of(place), *pass_.dropout) : input;
}

at::Tensor Tensors::dropped_whole(const at::Tensor& branch, double probability, std::string_view place) const {
  if (!pass_.dropout || probability == 0) return branch;
  std::vector<std::int64_t> one_a_sample(static_cast<std::size_t>(branch.dim()), 1);
  one_a_sample.front() = branch.size(0);
  return branch * keyed_dropout(at::ones(one_a_sample, branch.options()), probability, hash_of(place), *pass_.dropout);
}

at::Tensor Tensors::linear(std::size_t weight, const at::Tensor& input, const std::optional<at::Tensor>& bias) const {
  at::Tensor output = own_[weight].product == Product::conv1d ? conv1d_layer(input, tensors_[weight], bias)
                                                              : linear_layer(input, tensors_[weight], bias);
  for (const Adapter& adapter : pass_.adapters) {
    if (adapter.weight != weight) continue;
    const at::Tensor kept =
        pass_.dropout ? keyed_dropout(input, adapter.dropout, adapter.layer, *pass_.dropout) : input;
    output = output + linear_layer(linear_layer(kept, adapter.a) * adapter.scale, adapter.b);
  }
  return output;
}

ListedBlock::ListedBlock(std::string name, std::vector<Parameter> parameters, std::vector<std::string> borrowed)
    : name_(std::move(name)), parameters_(std::move(parameters)), borrowed_(std::move(borrowed)) {}

void ListedBlock::require_count(std::span<const at::Tensor> parameters) const {
  const std::size_t expected = parameters_.size() + borrowed_.size();
  if (parameters.size() != expected) {
    throw std::invalid_argument(
        fmt::format("block {}: {} parameters given, {} wanted", name_, parameters.size(), expected));
  }
}

at::Tensor ListedBlock::forward(const at::Tensor& input, std::span<const at::Tensor> parameters,
                                const Pass& pass) const {
  require_count(parameters);
  return run(input, Tensors(parameters_, parameters, pass));
}

at::Tensor ListedBlock::forward_next(const at::Tensor& input, std::span<const at::Tensor> parameters, BlockCache& cache,
                                     const Pass& pass) const {
  require_count(parameters);
  return run_next(input, Tensors(parameters_, parameters, pass), cache);
}

at::Tensor ListedBlock::run_next(const at::Tensor&, const Tensors&, BlockCache&) const {
  throw std::logic_error(fmt::format("block {} is of a model that generates nothing", name_));
}

}  // namespace lshdp::model
