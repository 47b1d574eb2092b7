// First values, attention and the common part of blocks.
#include "layers.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>

#include <fmt/format.h>

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

void add_layer_norm(std::vector<Parameter>& parameters, const std::string& name, std::int64_t width) {
  parameters.push_back(parameter(name + ".weight", {width}, kOnes));
  parameters.push_back(parameter(name + ".bias", {width}, kZeros));
}

at::Tensor without_key_bias(const at::Tensor& bias) {
  const std::vector<at::Tensor> parts = bias.chunk(3);
  return at::cat({parts[0], at::zeros_like(parts[1]), parts[2]});
}

namespace {

/// q, k and v of each head, [B, heads, T, width / heads].
std::vector<at::Tensor> split_heads(const at::Tensor& query_key_value, std::int64_t heads) {
  const std::int64_t batch = query_key_value.size(0), length = query_key_value.size(1);
  const std::int64_t width = query_key_value.size(2) / 3;
  return query_key_value.view({batch, length, 3, heads, width / heads}).permute({2, 0, 3, 1, 4}).unbind(0);
}

/// [B, heads, T, width / heads] -> [B, T, width].
at::Tensor join_heads(const at::Tensor& mixed) {
  return mixed.transpose(1, 2).reshape({mixed.size(0), mixed.size(2), mixed.size(1) * mixed.size(3)});
}

}  // namespace

at::Tensor attention(const at::Tensor& query_key_value, std::int64_t heads, bool causal) {
  const std::vector<at::Tensor> parts = split_heads(query_key_value, heads);
  return join_heads(at::scaled_dot_product_attention(parts[0], parts[1], parts[2], {}, 0.0, causal));
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

at::Tensor cached_attention(const at::Tensor& query_key_value, std::int64_t heads, BlockCache& cache) {
  const std::int64_t length = query_key_value.size(1), before = cache.positions, all = before + length;
  const std::vector<at::Tensor> parts = split_heads(query_key_value, heads);
  append(cache.keys, parts[1], before);
  append(cache.values, parts[2], before);
  cache.positions = all;
  // One position sees all; the first positions see each other as ever; others need to be told what lies behind them.
  std::optional<at::Tensor> mask;
  if (length > 1 && before > 0) mask = at::ones({length, all}, at::kBool).tril(before).to(query_key_value.device());
  return join_heads(at::scaled_dot_product_attention(parts[0], cache.keys.narrow(2, 0, all),
                                                     cache.values.narrow(2, 0, all), mask, 0.0,
                                                     /*is_causal=*/length > 1 && before == 0));
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

at::Tensor ListedBlock::forward(const at::Tensor& input, std::span<const at::Tensor> parameters) const {
  require_count(parameters);
  return run(input, parameters);
}

at::Tensor ListedBlock::forward_next(const at::Tensor& input, std::span<const at::Tensor> parameters,
                                     BlockCache& cache) const {
  require_count(parameters);
  return run_next(input, parameters, cache);
}

at::Tensor ListedBlock::run_next(const at::Tensor&, std::span<const at::Tensor>, BlockCache&) const {
  throw std::logic_error(fmt::format("block {} is of a model that generates nothing", name_));
}

}  // namespace lshdp::model
