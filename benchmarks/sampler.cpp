// Positions per second of the sampler: what a step asks of it, by size of the data set and of the rank's batch.
#include "lshdp/data/sampler.h"

#include <benchmark/benchmark.h>

namespace {

using lshdp::data::HeterogeneousDistributedSampler;
using lshdp::data::KeyedPermutation;

/// The permutation alone.
void permutation(benchmark::State& state) {
  const std::int64_t size = state.range(0);
  const KeyedPermutation order(size, 1, 0);
  std::int64_t position = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(order(position));
    position = position + 1 == size ? 0 : position + 1;
  }
  state.SetItemsProcessed(state.iterations());
}

/// The samples of the largest rank of four, step after step.
void samples_of(benchmark::State& state) {
  const std::int64_t batch = state.range(1);
  const HeterogeneousDistributedSampler sampler(state.range(0), {batch / 2, batch / 4, batch / 4, batch}, 1);
  std::int64_t step = 0;
  for (auto _ : state) benchmark::DoNotOptimize(sampler.samples_of(step++, 3));
  state.SetItemsProcessed(state.iterations() * batch);
}

BENCHMARK(permutation)->ArgName("size")->Arg(60'000)->Arg(1'281'167)->Arg(1'000'000'000'000);
BENCHMARK(samples_of)
    ->ArgNames({"size", "batch"})
    ->Args({60'000, 32})
    ->Args({1'281'167, 32})
    ->Args({1'281'167, 1024})
    ->Args({1'000'000'000'000, 1024});

}  // namespace

BENCHMARK_MAIN();
