// The three products of a linear layer, fp32 on one core, beside LibTorch's. Limit: what the core can multiply and add,
// which the largest figure of all comes near.
#include "../src/model/linear.h"

#include <array>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>
#include <torch/csrc/autograd/autograd.h>

namespace {

at::Tensor of_libtorch(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  return at::linear(input, weight, bias);
}
at::Tensor of_lshdp(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  return lshdp::model::linear_layer(input, weight, bias);
}

/// Forward, and the gradients of input, weight and bias.
void train(benchmark::State& state, at::Tensor (*layer)(const at::Tensor&, const at::Tensor&, const at::Tensor&)) {
  at::set_num_threads(1);
  const std::int64_t rows = state.range(0), in = state.range(1), out = state.range(2);
  const at::Tensor input = at::randn({rows, in}).requires_grad_(), weight = at::randn({out, in}).requires_grad_();
  const at::Tensor bias = at::randn({out}).requires_grad_(), upstream = at::randn({rows, out});
  for (auto _ : state) {
    benchmark::DoNotOptimize(torch::autograd::grad({layer(input, weight, bias)}, {input, weight, bias}, {upstream}));
  }
  const double operations = 3 * 2.0 * static_cast<double>(rows * in * out);
  state.counters["flop/s"] = benchmark::Counter(operations, benchmark::Counter::kIsIterationInvariantRate);
}

/// Rows of the experiments' models at the batches that their slower and faster ranks get.
void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"rows", "in", "out"});
  for (const std::array<std::int64_t, 3>& shape : std::vector<std::array<std::int64_t, 3>>{{85, 384, 1152},
                                                                                           {85, 384, 1536},
                                                                                           {289, 384, 384},
                                                                                           {697, 1536, 384},
                                                                                           {455, 256, 768},
                                                                                           {1105, 256, 1024},
                                                                                           {2275, 1024, 256},
                                                                                           {256, 384, 1536},
                                                                                           {256, 384, 8192}}) {
    benchmark->Args({shape[0], shape[1], shape[2]});
  }
}

BENCHMARK_CAPTURE(train, libtorch, of_libtorch)->Apply(shapes);
BENCHMARK_CAPTURE(train, lshdp, of_lshdp)->Apply(shapes);

}  // namespace

BENCHMARK_MAIN();
