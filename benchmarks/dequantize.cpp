// Bytes per second that quantised weights are written out with, beside memcpy of as many bytes with the same threads:
// the limit of what writes memory. And values per second of quantising, which a weight goes through once.
#include <cstddef>
#include <cstring>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include "lshdp/model/quantized.h"

namespace {

using lshdp::model::BasePrecision;

const std::vector<std::int64_t> kShape{4096, 4096};  // larger than any cache in every type

void set_threads(const benchmark::State& state) { at::set_num_threads(static_cast<int>(state.range(0))); }

at::Tensor weight() { return at::randn(kShape, at::detail::createCPUGenerator(1), at::kFloat); }

/// Only what is written is counted.
void report(benchmark::State& state, const at::Tensor& out) {
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(out.nbytes()));
}

void copy(benchmark::State& state, at::ScalarType type) {
  set_threads(state);
  const at::Tensor from = at::ones(kShape, type), to = at::zeros(kShape, type);
  const auto* source = static_cast<const std::byte*>(from.const_data_ptr());
  auto* target = static_cast<std::byte*>(to.data_ptr());
  for (auto _ : state) {
    at::parallel_for(0, static_cast<std::int64_t>(to.nbytes()), 1 << 17, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(target + begin, source + begin, static_cast<std::size_t>(end - begin));
    });
    benchmark::ClobberMemory();
  }
  report(state, to);
}

void dequantize(benchmark::State& state, BasePrecision precision, at::ScalarType type) {
  set_threads(state);
  const auto quantized = lshdp::model::quantize(weight(), precision);
  const at::Tensor out = at::empty(kShape, type);
  for (auto _ : state) lshdp::model::dequantize_into(quantized, out);
  report(state, out);
}

void quantize(benchmark::State& state, BasePrecision precision) {
  set_threads(state);
  const at::Tensor values = weight();
  for (auto _ : state) benchmark::DoNotOptimize(lshdp::model::quantize(values, precision));
  state.SetItemsProcessed(state.iterations() * values.numel());
}

void threads(benchmark::internal::Benchmark* self) {
  self->ArgName("threads")->Arg(1)->Arg(at::get_num_threads())->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK_CAPTURE(copy, fp32, at::kFloat)->Apply(threads);
BENCHMARK_CAPTURE(dequantize, nf4_to_fp32, BasePrecision::nf4, at::kFloat)->Apply(threads);
BENCHMARK_CAPTURE(dequantize, nf4_double_to_fp32, BasePrecision::nf4_double, at::kFloat)->Apply(threads);
BENCHMARK_CAPTURE(dequantize, int8_to_fp32, BasePrecision::int8, at::kFloat)->Apply(threads);
BENCHMARK_CAPTURE(copy, bf16, at::kBFloat16)->Apply(threads);
BENCHMARK_CAPTURE(dequantize, nf4_to_bf16, BasePrecision::nf4, at::kBFloat16)->Apply(threads);
BENCHMARK_CAPTURE(dequantize, int8_to_bf16, BasePrecision::int8, at::kBFloat16)->Apply(threads);
BENCHMARK_CAPTURE(dequantize, nf4_to_fp16, BasePrecision::nf4, at::kHalf)->Apply(threads);
BENCHMARK_CAPTURE(quantize, nf4, BasePrecision::nf4)->Apply(threads);
BENCHMARK_CAPTURE(quantize, int8, BasePrecision::int8)->Apply(threads);

}  // namespace

BENCHMARK_MAIN();
