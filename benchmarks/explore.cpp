// Layouts a second that a search gives, with the goal of a million on one core; seconds of a simulated step.
#include <cstdint>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "lshdp/explore/ranking.h"
#include "lshdp/explore/search.h"
#include "lshdp/explore/simulated_step.h"

namespace {

using lshdp::explore::Candidate;
using lshdp::explore::Hardware;
using lshdp::explore::Model;
using lshdp::explore::SearchSpace;

/// Llama 3.1 405B.
Model dense() {
  Model model;
  model.global_batch_size = 2048;
  model.vocab_size = 128256;
  model.num_layers = 126;
  model.hidden_size = 16384;
  model.num_attention_heads = 128;
  model.num_key_value_heads = 8;
  model.head_dim = 128;
  model.ffn_hidden_size = 53248;
  model.seq_length = 8192;
  return model;
}

/// 128 layers of 256 experts.
Model experts() {
  Model model = dense();
  model.num_layers = 128;
  model.ffn_hidden_size = 4096;
  model.moe = {.num_experts = 256, .k = 8, .expert_frequency = 1, .ffn_hidden_size = 4096};
  return model;
}

SearchSpace wide_space(std::int64_t most_stages) {
  SearchSpace space;
  space.pipeline.clear();
  for (std::int64_t stages = 1; stages <= most_stages; stages *= 2) space.pipeline.push_back(stages);
  space.devices = {8, 128, 1024, 2048, 4096, 8192, 16384};
  return space;
}

/// Nodes of 8 H100.
Hardware nodes() {
  Hardware hardware;
  hardware.device = {.name = "H100", .memory_bytes = 80LL << 30, .float16_flops = 989e12, .memory_bandwidth = 3.35e12};
  hardware.cluster = {
      .name = "nodes", .devices_per_node = 8, .within_node = {450e9, 3e-6}, .between_nodes = {50e9, 10e-6}};
  return hardware;
}

void run(benchmark::State& state, const Model& model, const std::optional<Hardware>& hardware) {
  SearchSpace space = wide_space(state.range(0));
  if (model.has_experts()) space.expert = {1, 2, 4, 8, 16, 32, 64, 128, 256};
  std::int64_t valid = 0;
  for (auto _ : state) {
    lshdp::explore::Top top(10, hardware ? lshdp::explore::RankBy::time : lshdp::explore::RankBy::memory);
    lshdp::explore::ParetoFront pareto;
    const auto counts = lshdp::explore::search(model, {}, space, hardware, [&](const Candidate& candidate) {
      top.offer(candidate);
      pareto.offer(candidate);
    });
    valid += counts.valid;
  }
  state.counters["layouts/s"] = benchmark::Counter(static_cast<double>(valid), benchmark::Counter::kIsRate);
  state.SetLabel("goal 1e6 layouts/s");
}

void search_dense(benchmark::State& state) { run(state, dense(), std::nullopt); }
void search_experts(benchmark::State& state) { run(state, experts(), std::nullopt); }
void search_dense_by_time(benchmark::State& state) { run(state, dense(), nodes()); }
void search_experts_by_time(benchmark::State& state) { run(state, experts(), nodes()); }

/// A step of 10,000 ranks event by event: 625 replicas of 16 stages and 64 micro-batches, no two alike.
void simulate_ranks(benchmark::State& state) {
  constexpr std::int64_t kStages = 16, kMicroBatches = 64;
  const std::int64_t ranks = state.range(0);
  std::vector<lshdp::explore::SimulatedReplica> replicas;
  for (std::int64_t replica = 0; replica < ranks / kStages; ++replica) {
    lshdp::explore::SimulatedReplica one{.micro_batches = kMicroBatches};
    for (std::int64_t stage = 0; stage < kStages; ++stage) {
      const double slower = 1 + 1e-4 * static_cast<double>(replica * 31 % 97 + stage * 17 % 53);
      one.stages.push_back({slower, 2 * slower, 0.05});
    }
    replicas.push_back(std::move(one));
  }
  const std::vector<double> behind(kStages, 1.0);
  std::int64_t events = 0;
  for (auto _ : state) {
    const auto step = lshdp::explore::simulate_cluster(replicas, 1, behind, behind);
    for (const auto& replica : step.replicas) {
      for (const auto& rank : replica) events += std::ssize(rank.work);
    }
  }
  state.counters["events/s"] = benchmark::Counter(static_cast<double>(events), benchmark::Counter::kIsRate);
  state.SetLabel("goal 60 s for 10,000 ranks");
}

BENCHMARK(simulate_ranks)->ArgName("ranks")->Arg(1024)->Arg(10000)->Unit(benchmark::kSecond);
BENCHMARK(search_dense)->ArgName("stages")->Arg(16)->Arg(64)->Unit(benchmark::kMillisecond);
BENCHMARK(search_experts)->ArgName("stages")->Arg(16)->Arg(64)->Unit(benchmark::kMillisecond);
BENCHMARK(search_dense_by_time)->ArgName("stages")->Arg(16)->Arg(64)->Unit(benchmark::kMillisecond);
BENCHMARK(search_experts_by_time)->ArgName("stages")->Arg(16)->Arg(64)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
