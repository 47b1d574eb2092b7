// Bytes per second of the host update, and of LibTorch's fused AdamW, beside copies of arenas with the same threads:
// the limit of what only streams through memory.
#include <cstring>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include "../src/parallel/optimizer/host_adamw.h"

namespace {

using lshdp::parallel::HostRange;

constexpr std::int64_t kCount = 32 << 20;  // elements; each arena is larger than any cache

/// Reads and writes are counted, not the lines that a write has to fetch first.
void report(benchmark::State& state, std::int64_t bytes_per_element) {
  state.SetBytesProcessed(state.iterations() * kCount * bytes_per_element);
  state.counters["parameters"] =
      benchmark::Counter(static_cast<double>(kCount), benchmark::Counter::kIsIterationInvariantRate);
}

void set_threads(const benchmark::State& state) { at::set_num_threads(static_cast<int>(state.range(0))); }

void copy(benchmark::State& state) {
  set_threads(state);
  const at::Tensor from = at::ones({kCount}), to = at::zeros({kCount});
  const float* source = from.const_data_ptr<float>();
  float* target = to.data_ptr<float>();
  for (auto _ : state) {
    at::parallel_for(0, kCount, 1 << 15, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(target + begin, source + begin, static_cast<std::size_t>(end - begin) * sizeof(float));
    });
    benchmark::ClobberMemory();
  }
  report(state, 2 * sizeof(float));
}

HostRange make_range(at::ScalarType gradient, at::ScalarType copy_type) {
  HostRange range{at::full({kCount}, 0.01, gradient), at::ones({kCount}), at::zeros({kCount}), at::zeros({kCount}), {}};
  if (copy_type != at::kFloat) range.copy = at::zeros({kCount}, copy_type);
  return range;
}

void update(benchmark::State& state, at::ScalarType gradient, at::ScalarType copy_type) {
  set_threads(state);
  const HostRange range = make_range(gradient, copy_type);
  std::int64_t step = 0;
  for (auto _ : state) {
    lshdp::parallel::adamw_on_host(range, 0.5, 0.01, {}, {.step = ++step, .learning_rate = 1e-3});
  }
  const std::int64_t gradient_bytes = gradient == at::kFloat ? 4 : 2, copied = copy_type == at::kFloat ? 0 : 2;
  report(state, gradient_bytes + 12 + 12 + copied);
}

/// What the same takes with LibTorch's kernel: a pass that scales, the update, a pass that rounds.
void libtorch(benchmark::State& state, at::ScalarType copy_type) {
  set_threads(state);
  const HostRange range = make_range(at::kFloat, copy_type);
  std::int64_t step = 0;
  for (auto _ : state) {
    range.gradient.mul_(0.5);
    const at::Tensor count = at::scalar_tensor(static_cast<double>(++step), at::kFloat);
    at::_fused_adamw_({range.master}, {range.gradient}, {range.first_moment}, {range.second_moment}, {}, {count}, 1e-3,
                      0.9, 0.999, 0.01, 1e-8, false, false);
    if (range.copy.defined()) range.copy.copy_(range.master);
  }
  report(state, 28 + (copy_type == at::kFloat ? 0 : 2));
}

void threads(benchmark::internal::Benchmark* self) {
  self->ArgName("threads")->Arg(1)->Arg(at::get_num_threads())->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(copy)->Apply(threads);
BENCHMARK_CAPTURE(update, fp32, at::kFloat, at::kFloat)->Apply(threads);
BENCHMARK_CAPTURE(update, bf16_copy, at::kFloat, at::kBFloat16)->Apply(threads);
BENCHMARK_CAPTURE(update, bf16_gradient_and_copy, at::kBFloat16, at::kBFloat16)->Apply(threads);
BENCHMARK_CAPTURE(libtorch, fp32, at::kFloat)->Apply(threads);
BENCHMARK_CAPTURE(libtorch, bf16_copy, at::kBFloat16)->Apply(threads);
BENCHMARK(copy)->Name("copy_again")->Apply(threads);

}  // namespace

BENCHMARK_MAIN();
