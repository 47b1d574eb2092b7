// Bytes per second of plain copies between pinned host memory and a CUDA device: the limit of what lsdp streams.
#include <cstdint>

#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include "../src/parallel/layout/host_arena.h"
#include "lshdp/core/cuda.h"

namespace {

enum class Way { in, out };

void copy(benchmark::State& state, Way way) {
  if (lshdp::cuda_device_count() == 0) {
    state.SkipWithError("no CUDA device here, or none in this build");
    return;
  }
  const auto device = lshdp::make_cuda_device(0);
  const std::int64_t count = state.range(0) / static_cast<std::int64_t>(sizeof(float));
  lshdp::parallel::HostArena arena(state.range(0), *device);
  const at::Tensor host = arena.take(count, at::kFloat);
  const at::Tensor there = at::zeros({count}, at::TensorOptions(device->where()));
  for (auto _ : state) {
    if (way == Way::in)
      device->copy_in(there.data_ptr(), host.data_ptr(), state.range(0), {}).wait();
    else
      device->copy_out(host.data_ptr(), there.data_ptr(), state.range(0), {}).wait();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

}  // namespace

BENCHMARK_CAPTURE(copy, in, Way::in)->Arg(4 << 20)->Arg(16 << 20)->Arg(64 << 20)->UseRealTime();
BENCHMARK_CAPTURE(copy, out, Way::out)->Arg(4 << 20)->Arg(16 << 20)->Arg(64 << 20)->UseRealTime();

BENCHMARK_MAIN();
