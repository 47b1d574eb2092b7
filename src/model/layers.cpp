// First values, attention and the common part of blocks.
#include "layers.h"

#include <cmath>
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

at::Tensor attention(const at::Tensor& query_key_value, std::int64_t heads, bool causal) {
  const std::int64_t batch = query_key_value.size(0), length = query_key_value.size(1);
  const std::int64_t width = query_key_value.size(2) / 3;
  // [3, B, heads, T, width / heads]
  const at::Tensor split = query_key_value.view({batch, length, 3, heads, width / heads}).permute({2, 0, 3, 1, 4});
  const std::vector<at::Tensor> parts = split.unbind(0);
  const at::Tensor mixed = at::scaled_dot_product_attention(parts[0], parts[1], parts[2], {}, 0.0, causal);
  return mixed.transpose(1, 2).reshape({batch, length, width});
}

ListedBlock::ListedBlock(std::string name, std::vector<Parameter> parameters, std::vector<std::string> borrowed)
    : name_(std::move(name)), parameters_(std::move(parameters)), borrowed_(std::move(borrowed)) {}

at::Tensor ListedBlock::forward(const at::Tensor& input, std::span<const at::Tensor> parameters) const {
  const std::size_t expected = parameters_.size() + borrowed_.size();
  if (parameters.size() != expected) {
    throw std::invalid_argument(
        fmt::format("block {}: {} parameters given, {} wanted", name_, parameters.size(), expected));
  }
  return run(input, parameters);
}

}  // namespace lshdp::model
