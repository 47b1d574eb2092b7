// Linear layers: outputs and gradients beside LibTorch's in fp64, for all that a weight, a bias and an input may be.
#include <algorithm>
#include <functional>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "../../src/model/linear.h"

namespace {

using lshdp::model::conv1d_layer;
using lshdp::model::linear_layer;
using Layer = std::function<at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&)>;
using Tensors = std::vector<at::Tensor>;

at::Tensor random(at::IntArrayRef shape, std::uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape, generator, at::kFloat);
}

/// The output and the gradients of input, weight and bias, where the output's gradient is `upstream`.
Tensors run(const Layer& layer, const Tensors& given, const at::Tensor& upstream, at::ScalarType type) {
  Tensors leaves;
  for (const at::Tensor& tensor : given) leaves.push_back(tensor.to(type).detach().requires_grad_());
  const at::Tensor output = layer(leaves[0], leaves[1], leaves[2]);
  Tensors results = torch::autograd::grad({output}, leaves, {upstream.to(type)});
  results.insert(results.begin(), output.detach());
  return results;
}

/// fp32 against the same in fp64: a sum of n products of random signs grows like sqrt(n) and is rounded n times, up and
/// down alike, so it is off by about n x 6e-8; five times that is allowed.
void expect_close(const Tensors& actual, const Tensors& exact, std::int64_t longest_sum) {
  ASSERT_EQ(actual.size(), exact.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(actual[i].sizes(), exact[i].sizes()) << "tensor " << i;
    EXPECT_EQ(actual[i].scalar_type(), at::kFloat);
    const double error = (actual[i].to(at::kDouble) - exact[i]).abs().max().item<double>();
    EXPECT_LT(error, 5 * static_cast<double>(longest_sum) * 6e-8) << "tensor " << i;
  }
}

at::Tensor exact_linear(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  return at::matmul(input, weight.t()) + bias;
}
at::Tensor exact_conv1d(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  return at::matmul(input, weight) + bias;
}

void compare(const Layer& layer, const Layer& exact, const Tensors& given, const at::Tensor& upstream) {
  expect_close(run(layer, given, upstream, at::kFloat), run(exact, given, upstream, at::kDouble),
               std::max(upstream.numel() / upstream.size(-1), std::max(given[1].size(0), given[1].size(1))));
}

TEST(Linear, GivesOutputsAndGradientsOfLibTorch) {
  for (const std::int64_t rows : {1, 3, 85, 300}) {
    const at::Tensor upstream = random({rows, 37}, 4), bias = random({37}, 3), input = random({rows, 65}, 1);
    compare(linear_layer, exact_linear, {input, random({37, 65}, 2), bias}, upstream);
    compare(conv1d_layer, exact_conv1d, {input, random({65, 37}, 2), bias}, upstream);
  }
}

TEST(Linear, TakesInputsOfAnyNumberOfDimensions) {
  const at::Tensor weight = random({8, 24}, 2), bias = random({8}, 3);
  for (const at::Tensor& input :
       {random({24}, 1), random({5, 24}, 1), random({2, 7, 24}, 1), random({2, 3, 4, 24}, 1)}) {
    std::vector<std::int64_t> shape = input.sizes().vec();
    shape.back() = 8;
    compare(linear_layer, exact_linear, {input, weight, bias}, random(shape, 4));
  }
}

TEST(Linear, TakesTensorsThatAreNotContiguous) {
  const Tensors given{random({3, 24, 10}, 1).transpose(1, 2), random({24, 8}, 2).t(),
                      random({16}, 3).slice(0, 0, 16, 2)};
  const at::Tensor upstream = random({3, 8, 10}, 4).transpose(1, 2);
  compare(linear_layer, exact_linear, given, upstream);
  compare(conv1d_layer, exact_conv1d, {given[0], given[1].t(), given[2]}, upstream);
}

TEST(Linear, WorksWithoutABias) {
  const at::Tensor weight = random({8, 24}, 2), upstream = random({5, 8}, 4);
  const at::Tensor leaf = weight.clone().requires_grad_(), input = random({5, 24}, 1).requires_grad_();
  const at::Tensor output = linear_layer(input, leaf);
  Tensors actual = torch::autograd::grad({output}, {input, leaf}, {upstream});
  actual.push_back(output.detach());
  const at::Tensor x = input.detach().to(at::kDouble), w = weight.to(at::kDouble), y = upstream.to(at::kDouble);
  expect_close(actual, {at::matmul(y, w), at::matmul(y.t(), x), at::matmul(x, w.t())}, 24);
}

TEST(Linear, GivesOnlyTheGradientsThatAreAskedFor) {
  const at::Tensor input = random({5, 24}, 1), weight = random({8, 24}, 2), bias = random({8}, 3).requires_grad_();
  const at::Tensor upstream = random({5, 8}, 4);
  const Tensors gradients = torch::autograd::grad({linear_layer(input, weight, bias)}, {bias}, {upstream});
  ASSERT_EQ(gradients.size(), 1);
  EXPECT_TRUE(at::allclose(gradients[0], upstream.sum(0)));
}

TEST(Linear, LeavesWhatIsNotFp32ToLibTorch) {
  for (const at::ScalarType type : {at::kDouble, at::kBFloat16, at::kHalf}) {
    const at::Tensor input = random({5, 24}, 1).to(type), weight = random({8, 24}, 2).to(type);
    const at::Tensor bias = random({8}, 3).to(type);
    EXPECT_TRUE(at::equal(linear_layer(input, weight, bias), at::linear(input, weight, bias))) << type;
    EXPECT_TRUE(
        at::equal(conv1d_layer(input, weight.t().contiguous(), bias), at::addmm(bias, input, weight.t().contiguous())))
        << type;
  }
}

TEST(Linear, TakesNoRowsAtAll) {
  const at::Tensor leaf = random({8, 24}, 2).requires_grad_();
  const at::Tensor output = linear_layer(at::empty({0, 24}), leaf, random({8}, 3));
  EXPECT_EQ(output.sizes(), (std::vector<std::int64_t>{0, 8}));
  EXPECT_EQ(torch::autograd::grad({output.sum()}, {leaf})[0].abs().max().item<double>(), 0);
}

TEST(Linear, GivesTheSameBitsEachTime) {
  const Tensors given{random({85, 64}, 1), random({48, 64}, 2), random({48}, 3)};
  const at::Tensor upstream = random({85, 48}, 4);
  const Tensors first = run(linear_layer, given, upstream, at::kFloat);
  const Tensors second = run(linear_layer, given, upstream, at::kFloat);
  for (std::size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(at::equal(first[i], second[i])) << "tensor " << i;
}

}  // namespace
