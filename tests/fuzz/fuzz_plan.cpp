// Readers of profile.json, batches.json and layout.json, and the solver behind them.
#include <numeric>

#include <gtest/gtest.h>

#include "lshdp/core/text.h"
#include "lshdp/plan/alike_ranks.h"
#include "lshdp/plan/layout.h"
#include "lshdp/plan/plan.h"
#include "lshdp/plan/profile.h"
#include "lshdp/plan/solver.h"
#include "lshdp/plan/stage_schedule.h"
#include "reader.h"

namespace lshdp::test {
namespace {

Json sample_profile() {
  plan::Profile profile;
  profile.model = "mlp";
  profile.strategy.mode = plan::Mode::ddp;
  profile.strategy.precision = plan::Precision::fp32;
  profile.data_shape = {1, 28, 28};
  profile.parameter_count = 1000;
  profile.gradient_bytes = profile.parameter_bytes = 4000;
  profile.exposed_bytes = 400;
  profile.network = {.latency_seconds = 1e-4,
                     .bytes_per_second = 1e8,
                     .cpu_seconds_per_byte = 1e-10,
                     .curve = {{4096, 1e-3}, {16384, 2e-3}},
                     .messages = {{8192, 5e-4}, {32768, 8e-4}}};
  for (int rank = 0; rank < 3; ++rank) {
    profile.ranks.push_back({.rank = rank,
                             .host = "node",
                             .device = "cpu",
                             .memory_bytes = 1 << 30,
                             .max_batch = 8,
                             .speed = 1.0 / (rank + 1),
                             .cores = 1.0 / (rank + 1),
                             .update_seconds = 1e-3,
                             .link_bytes_per_second = rank == 1 ? 1e7 : 1e8,
                             .curve = {{1, 0.1}, {4, 0.3}, {8, 0.5}}});
  }
  return plan::to_json(profile);
}

Json sample_plan() {
  plan::Plan plan = plan::plan_from_batches({8, 0, 24}, {8, 8, 8});
  plan.model = "mlp";
  plan.strategy = plan::Strategy{};
  plan.predicted = {1.5, 21, {1, 0, 1.5}, 0.5, 0.1};
  plan.equal_split_step_seconds = 2;
  plan.shard_weights = {1500, 0, 1500};
  plan.transfer = {.segment_bytes = 1 << 20, .sends_in_flight = 4, .bucket_bytes = 1 << 18};
  return plan::to_json(plan);
}

Json sample_layout() {
  plan::Layout layout{.model = "mlp", .strategy = plan::Strategy{}, .blocks = 6};
  layout.replicas = {
      {8, {4, 4}, {{.rank = 3, .start = 0, .end = 6, .in_flight = 2}}},
      {16,
       {5, 5, 6},
       {{.rank = 0, .start = 0, .end = 2, .predicted = plan::StageTime{0.1, 0.2, 0.05}},
        {.rank = 1, .start = 2, .end = 5, .predicted = plan::StageTime{0.1, 0.3, 0.01}},
        {.rank = 0, .start = 5, .end = 6, .predicted = plan::StageTime{0, 0.2, 0}, .predicted_bytes = 1 << 20}}}};
  layout.predicted = {1.5, 21, {1, 0, 0, 1.5}, 0.5, 0.1};
  return plan::to_json(layout);
}

void read_profile_tree(const Json& json) {
  const plan::Profile profile = plan::profile_from_json(json, "profile.json");
  EXPECT_FALSE(profile.ranks.empty());
  // What is accepted can be written and read again.
  EXPECT_EQ(plan::to_json(plan::profile_from_json(plan::to_json(profile), "again")), plan::to_json(profile));
}

void read_plan_tree(const Json& json) {
  const plan::Plan plan = plan::plan_from_json(json, "batches.json");
  std::int64_t total = 0;
  for (const auto& rank : plan.ranks) {
    EXPECT_GE(rank.batch, 0);
    EXPECT_EQ(std::accumulate(rank.micro_batches.begin(), rank.micro_batches.end(), std::int64_t{0}), rank.batch);
    total += rank.batch;
  }
  EXPECT_EQ(total, plan.total);
  EXPECT_GT(total, 0);
}

// What is accepted has a schedule in which all work is done.
void read_layout_tree(const Json& json) {
  const plan::Layout layout = plan::layout_from_json(json, "layout.json");
  EXPECT_EQ(plan::to_json(plan::layout_from_json(plan::to_json(layout), "again")), plan::to_json(layout));
  EXPECT_GT(plan::total_of(layout), 0);
  for (std::size_t index = 0; index < layout.replicas.size(); ++index) {
    const plan::Replica& replica = layout.replicas[index];
    const std::int64_t rank = replica.stages.front().rank;
    EXPECT_EQ(plan::work_order(layout, index, rank, replica.micro_batches).size(),
              2 * plan::stages_of(replica, rank).size() * replica.micro_batches.size());
  }
}

const Json kShortPlan = {{"version", 1}, {"batches", {16, 16, 48, 48}}};
const Json kShortLayout = {{"version", 1},
                           {"replicas", {{{"batch", 4}, {"stages", {{{"rank", 0}, {"start", 0}, {"end", 6}}}}}}}};

std::vector<Json> profiles() { return {sample_profile()}; }
std::vector<Json> plans() { return {sample_plan(), kShortPlan}; }
std::vector<Json> layouts() { return {sample_layout(), kShortLayout}; }
std::vector<std::string> batches() { return {"8,8,24,24", "0,1", "5"}; }

// What the reader lets through, the solver must be able to take.
void solve_a_fixed_total(const Json& json) {
  const plan::Solution solution = plan::solve(plan::profile_from_json(json, "profile.json"), {.total = 48});
  std::int64_t total = 0;
  for (const auto& rank : solution.plan.ranks) total += rank.batch;
  EXPECT_EQ(total, 48);
}

void solve_the_best_total(const Json& json) {
  EXPECT_GT(plan::solve(plan::profile_from_json(json, "profile.json"), {}).plan.total, 0);
}

std::vector<Json> profiles_of_alike_ranks() {
  Json sample = sample_profile();
  sample["ranks"][1]["speed"] = sample["ranks"][0]["speed"];
  sample["ranks"][1]["cores"] = sample["ranks"][0]["cores"];
  sample["ranks"][1]["curve"][1]["seconds"] = 0.31;
  return {sample};
}

void solve_alike_ranks(const Json& json) {
  const plan::PooledProfile pooled = plan::pool_alike_ranks(plan::profile_from_json(json, "profile.json"));
  read_profile_tree(plan::to_json(pooled.profile));
  EXPECT_GT(plan::solve(pooled.profile, {.total = 48}).plan.predicted.step_seconds, 0);
}

void read_batches(const std::string& text) {
  EXPECT_GT(plan::plan_from_batches(parse_int_list(text, "--batches")).total, 0);
}

}  // namespace

std::vector<Reader> readers() {
  return {json_reader("Profile", profiles, read_profile_tree),
          json_reader("Plan", plans, read_plan_tree),
          json_reader("Layout", layouts, read_layout_tree),
          json_reader("SolveAFixedTotal", profiles, solve_a_fixed_total),
          json_reader("SolveTheBestTotal", profiles, solve_the_best_total),
          json_reader("SolveAlikeRanks", profiles_of_alike_ranks, solve_alike_ranks),
          {"Batches", batches, read_batches, Mutation::bytes, {100'000, 1}}};
}

}  // namespace lshdp::test
