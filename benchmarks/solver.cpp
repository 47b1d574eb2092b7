// Time of the batch solver; its limit is one second for 10,000 ranks, alike or all different.
#include "lshdp/plan/solver.h"

#include <random>

#include <benchmark/benchmark.h>

namespace {

using lshdp::plan::Profile;
using lshdp::plan::RankProfile;
using lshdp::plan::SolverOptions;

RankProfile rank_of_speed(double samples_per_second, std::int64_t max_batch) {
  RankProfile rank;
  rank.device = "cpu";
  rank.max_batch = max_batch;
  for (std::int64_t batch = 1; batch <= max_batch; batch *= 2) {
    rank.curve.push_back({batch, 5e-3 + static_cast<double>(batch) / samples_per_second});
  }
  return rank;
}

/// `kinds` different ranks, repeated until there are `ranks`.
Profile cluster(std::int64_t ranks, std::int64_t kinds) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> speed(500, 4000);
  Profile profile;
  profile.gradient_bytes = profile.parameter_bytes = 86'000'000;
  profile.exposed_bytes = 1'000'000;
  profile.network.bytes_per_second = 1.2e8;
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    profile.ranks.push_back(rank < kinds ? rank_of_speed(speed(random), 64)
                                         : profile.ranks[static_cast<std::size_t>(rank % kinds)]);
    profile.ranks.back().rank = static_cast<int>(rank);
  }
  return profile;
}

void solve(benchmark::State& state, const SolverOptions& options) {
  const Profile profile = cluster(state.range(0), state.range(1));
  for (auto _ : state) benchmark::DoNotOptimize(lshdp::plan::solve(profile, options));
  state.SetLabel("limit 1 s");
}

void fixed_total(benchmark::State& state) { solve(state, {32 * state.range(0), 1}); }
void fixed_total_any_accumulation(benchmark::State& state) { solve(state, {100 * state.range(0), 0}); }
void best_total(benchmark::State& state) { solve(state, {std::nullopt, 1}); }
void best_total_two_micro_batches(benchmark::State& state) { solve(state, {std::nullopt, 2}); }

void all(benchmark::internal::Benchmark* self) {
  self->ArgNames({"ranks", "kinds"})->Args({4, 4})->Args({10'000, 4})->Args({10'000, 10'000});
  self->Unit(benchmark::kMillisecond);
}

BENCHMARK(fixed_total)->Apply(all);
BENCHMARK(fixed_total_any_accumulation)->Apply(all);
BENCHMARK(best_total)->Apply(all);
BENCHMARK(best_total_two_micro_batches)->Apply(all);

}  // namespace

BENCHMARK_MAIN();
