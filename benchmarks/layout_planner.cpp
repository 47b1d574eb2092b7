// Time of the layout planner; its limits are 2 s for 4 ranks and 26 blocks, 10 s for 16 ranks and 96 blocks, and a
// minute for 256 ranks and 96 blocks. Beside it: the step that is found over the one that nothing can be below.
#include "lshdp/plan/layout_planner.h"

#include <cmath>
#include <random>
#include <string>

#include <benchmark/benchmark.h>

namespace {

using lshdp::plan::BlockTimes;
using lshdp::plan::LayoutOptions;
using lshdp::plan::LayoutSolution;
using lshdp::plan::Profile;
using lshdp::plan::RankProfile;

constexpr std::int64_t kHidden = 1024, kTokens = 128, kVocabulary = 50257;
constexpr std::int64_t kLayer = 12 * kHidden * kHidden, kTable = kHidden * kVocabulary;

/// Each block's part of a rank's time: an embedding, layers, a head.
std::vector<double> parts(std::int64_t blocks) {
  std::vector<double> parts(static_cast<std::size_t>(blocks), static_cast<double>(kLayer));
  parts.front() /= 50;
  parts.back() = static_cast<double>(kTable);
  double sum = 0;
  for (const double part : parts) sum += part;
  for (double& part : parts) part /= sum;
  return parts;
}

RankProfile rank_of_speed(double samples_per_second, std::int64_t blocks, double bytes_per_second) {
  RankProfile rank;
  rank.device = "cpu";
  rank.max_batch = 64;
  rank.memory_bytes = std::int64_t{8} << 30;
  rank.link_bytes_per_second = bytes_per_second;
  for (const std::int64_t batch : {1, 64}) {
    const double seconds = (0.2 + static_cast<double>(batch)) / samples_per_second;
    rank.curve.push_back({batch, seconds});
    BlockTimes times{.batch = batch, .forward = {}, .backward = {}};
    for (const double part : parts(blocks)) {
      times.forward.push_back(part * seconds / 3);
      times.backward.push_back(part * seconds * 2 / 3);
    }
    rank.block_times.push_back(std::move(times));
  }
  return rank;
}

/// Ranks whose speeds differ by up to four times.
Profile cluster(std::int64_t ranks, std::int64_t blocks, double bytes_per_second, bool tied) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> speed(2.5, 10);
  Profile profile;
  profile.model = "gpt";
  const std::int64_t activations = kTokens * kHidden * 4;
  for (std::int64_t block = 0; block < blocks; ++block)
    profile.blocks.push_back({"layer", kLayer, 16 * activations, activations});
  profile.blocks.front() = {"embedding", kTable, activations, activations};
  profile.blocks.back() = {"head", tied ? 0 : kTable, kTokens * kVocabulary * 4, kTokens * kVocabulary * 4};
  if (tied) profile.blocks.back().shares_with = {0};
  for (const auto& block : profile.blocks) profile.parameter_count += block.parameters;
  profile.gradient_bytes = profile.parameter_bytes = 4 * profile.parameter_count;
  profile.exposed_bytes = 4 * kTable;
  profile.network = {
      .latency_seconds = 5e-4, .bytes_per_second = bytes_per_second, .cpu_seconds_per_byte = 5e-10, .curve = {}};
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    profile.ranks.push_back(rank_of_speed(speed(random), blocks, bytes_per_second));
    profile.ranks.back().rank = static_cast<int>(rank);
  }
  return profile;
}

/// Ranks, blocks, samples a step, million bytes a second, whether first and last block share a parameter.
void solve(benchmark::State& state, const std::string& limit) {
  const Profile profile =
      cluster(state.range(0), state.range(1), 1e6 * static_cast<double>(state.range(3)), state.range(4) != 0);
  LayoutSolution solution;
  for (auto _ : state) solution = lshdp::plan::solve_layout(profile, {.total = state.range(2)});
  state.counters["step_s"] = solution.layout.predicted.step_seconds;
  state.counters["least_s"] = solution.least_step_seconds;
  state.SetLabel("limit " + limit);
}

void four_ranks(benchmark::State& state) { solve(state, "2 s"); }
void sixteen_ranks(benchmark::State& state) { solve(state, "10 s"); }
void many_ranks(benchmark::State& state) { solve(state, "60 s"); }

void names(benchmark::internal::Benchmark* self) {
  self->ArgNames({"ranks", "blocks", "total", "MB/s", "tied"})->Unit(benchmark::kSecond)->Iterations(1);
}

BENCHMARK(four_ranks)->Apply(names)->Args({4, 26, 64, 12, 0})->Args({4, 26, 64, 125, 0})->Args({4, 26, 64, 1250, 1});
BENCHMARK(sixteen_ranks)->Apply(names)->Args({16, 96, 256, 125, 0})->Args({16, 96, 256, 1250, 1});
BENCHMARK(many_ranks)->Apply(names)->Args({256, 96, 1024, 125, 0})->Args({256, 96, 1024, 1250, 0});

}  // namespace

BENCHMARK_MAIN();
