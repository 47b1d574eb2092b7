// What is predicted of layouts: data parallel as the step model has it, pipelines by hand, memory, bad input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/plan/layout_prediction.h"
#include "lshdp/plan/solver.h"
#include "plan/layouts.h"
#include "stage_memory.h"

namespace lshdp::plan {
namespace {

using test::BlockModel;
using test::cluster_of;
using ::testing::AllOf;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pointwise;
using ::testing::ThrowsMessage;

/// One replica of these ends of stages, on ranks 0, 1, ...
Layout pipeline(std::vector<std::int64_t> micro_batches, const std::vector<std::size_t>& ends) {
  Replica replica{.micro_batches = std::move(micro_batches)};
  for (const std::int64_t samples : replica.micro_batches) replica.batch += samples;
  std::size_t start = 0;
  for (const std::size_t end : ends) {
    replica.stages.push_back({.rank = static_cast<std::int64_t>(replica.stages.size()), .start = start, .end = end});
    start = end;
  }
  return {.blocks = ends.back(), .replicas = {std::move(replica)}};
}

Layout data_parallel(const Plan& plan, std::size_t blocks) {
  Layout layout{.blocks = blocks};
  for (const RankPlan& rank : plan.ranks) {
    if (rank.batch == 0) continue;
    layout.replicas.push_back({rank.batch, rank.micro_batches, {{.rank = rank.rank, .start = 0, .end = blocks}}});
  }
  return layout;
}

Prediction predicted(const Profile& profile, const Layout& layout) {
  return predict_layout(profile, layout, "layout.json").layout.predicted;
}

TEST(LayoutPrediction, DataParallelIsWhatTheSolverPredicts) {
  Profile profile = cluster_of({4, 2, 1}, {.blocks = 6}, 1e5);
  profile.ranks[1].update_seconds = 0.01;
  profile.network.cpu_seconds_per_byte = 1e-7;
  for (const std::int64_t total : {7, 24, 150}) {
    const Plan plan = solve(profile, {.total = total}).plan;
    const Prediction step = predicted(profile, data_parallel(plan, 6));
    // The solver's own tables are exact to a billionth.
    EXPECT_NEAR(step.step_seconds, plan.predicted.step_seconds, 1e-7);
    EXPECT_THAT(step.compute_seconds, Pointwise(DoubleNear(1e-7), plan.predicted.compute_seconds));
    EXPECT_EQ(step.communication_seconds, plan.predicted.communication_seconds);
    EXPECT_NEAR(step.exposed_seconds, plan.predicted.exposed_seconds, 1e-7);
  }
}

TEST(LayoutPrediction, DataParallelHasTheShardsThatTheSolverTakes) {
  Profile profile = cluster_of({4, 4, 4, 4}, {.blocks = 6}, 1e4);
  for (RankProfile& rank : profile.ranks) rank.link_bytes_per_second = 1e6;
  profile.ranks[2].link_bytes_per_second = 1e5;
  const Plan plan = solve(profile, {.total = 16}).plan;
  ASSERT_FALSE(plan.shard_weights.empty());
  EXPECT_NEAR(predicted(profile, data_parallel(plan, 6)).step_seconds, plan.predicted.step_seconds, 1e-7);
}

TEST(LayoutPrediction, DataParallelOnSomeRanksIsTheirOwnRun) {
  const Profile profile = cluster_of({4, 2, 1}, {.blocks = 6}, 1e5);
  Layout layout{.blocks = 6};
  layout.replicas.push_back({12, {12}, {{.rank = 0, .start = 0, .end = 6}}});
  const LayoutPrediction alone = predict_layout(profile, layout, "layout.json");
  EXPECT_NEAR(alone.layout.predicted.step_seconds, 3, 1e-9) << "no network";
  EXPECT_THAT(alone.layout.predicted.compute_seconds, ElementsAre(3, 0, 0));
  EXPECT_THAT(alone.idle_share, ElementsAre(0, 1, 1));
}

TEST(LayoutPrediction, EqualStagesTakeTheirPeriodsAndTheBubble) {
  // A sample takes 1/3 s forward and 2/3 s backward: on each of three stages a third of that.
  const Profile profile = cluster_of({1, 1, 1}, {.blocks = 6}, 0);
  const Prediction step = predicted(profile, pipeline({1, 1, 1, 1}, {2, 4, 6}));
  EXPECT_NEAR(step.step_seconds, (4 + 2) / 3.0, 1e-9);
  EXPECT_THAT(step.compute_seconds, testing::Each(DoubleNear(4 / 3.0, 1e-9)));
  EXPECT_NEAR(step.samples_per_second, 2, 1e-9);
}

TEST(LayoutPrediction, MessagesDelayTheFirstAndTheLastMicroBatch) {
  Profile profile = cluster_of({1, 1}, {.blocks = 2}, 1000);
  profile.network.latency_seconds = 0.05;
  // 100 bytes a sample: 0.15 s there and 0.15 s back, beside 0.5 s on each stage.
  EXPECT_NEAR(predicted(profile, pipeline({1}, {1, 2})).step_seconds, 1.3, 0.06) << "and an all-reduce of one number";
  profile.ranks[1].link_bytes_per_second = 500;
  EXPECT_NEAR(predicted(profile, pipeline({1}, {1, 2})).step_seconds, 1.5, 0.06) << "the slower of both links";
}

TEST(LayoutPrediction, ALinkThatCarriesTwoBoundariesBoundsTheStep) {
  // The middle rank receives 2 x 100 bytes a sample, at 100 bytes a second.
  Profile profile = cluster_of({1000, 1000, 1000}, {.blocks = 3}, 100);
  const LayoutPrediction step = predict_layout(profile, pipeline({1, 1, 1, 1, 1, 1, 1, 1}, {1, 2, 3}), "l");
  EXPECT_GE(step.layout.predicted.step_seconds, 16);
  EXPECT_NEAR(step.layout.predicted.communication_seconds, 16, 1e-9);
  EXPECT_EQ(step.bound_by, "the network");
}

TEST(LayoutPrediction, CountsTheUpdateAndTheCpuTimeOfMessages) {
  Profile profile = cluster_of({1, 1}, {.blocks = 2}, 1e12);
  const Layout layout = pipeline({1}, {1, 2});
  const double before = predicted(profile, layout).step_seconds;
  for (RankProfile& rank : profile.ranks) rank.update_seconds = 0.1;  // of half of the parameters, as each stage has
  EXPECT_NEAR(predicted(profile, layout).step_seconds - before, 0.1, 1e-9);
  profile.network.cpu_seconds_per_byte = 1e-3;
  // Each rank sends 100 bytes and receives 100.
  EXPECT_NEAR(predicted(profile, layout).compute_seconds[0], 0.5 + 0.1 + 0.2, 1e-9);
}

TEST(LayoutPrediction, ReplicasExchangeWhatTheyHoldBehindTheirWork) {
  Layout layout = pipeline({4}, {1, 2});
  Layout other = pipeline({4}, {1, 2});
  for (Stage& stage : other.replicas[0].stages) stage.rank += 2;
  layout.replicas.push_back(other.replicas[0]);
  Profile profile = cluster_of({1, 1, 1, 1}, {.blocks = 2}, 1e12);
  const double fast = predicted(profile, layout).step_seconds;
  EXPECT_NEAR(fast, 4, 1e-3);
  profile.network.bytes_per_second = 1e4;
  profile.network.exposed_factor = 0;
  for (BlockProfile& block : profile.blocks) block.output_bytes = 0;
  // 4,000 bytes a block over two ranks: 0.4 s, which the bubble hides.
  EXPECT_NEAR(predicted(profile, layout).step_seconds, 4, 1e-2);
  profile.network.bytes_per_second = 500;
  // 8 s: from the begin of the first stage's last backward (8/3 s) to the end of its next forward (2/3 s).
  EXPECT_NEAR(predicted(profile, layout).step_seconds, 10, 0.1);
  EXPECT_EQ(predict_layout(profile, layout, "l").bound_by, "the network");
}

TEST(LayoutPrediction, FillsInWhatItKnowsOfEachStage) {
  Profile profile = cluster_of({1, 2}, {.blocks = 3}, 1000);
  const Layout layout = predict_layout(profile, pipeline({2, 1}, {1, 3}), "l").layout;
  const Stage &first = layout.replicas[0].stages[0], &second = layout.replicas[0].stages[1];
  EXPECT_EQ(first.in_flight, 2);
  EXPECT_EQ(second.in_flight, 1);
  ASSERT_TRUE(first.predicted.has_value());
  EXPECT_NEAR(first.predicted->forward_seconds, 2 / 9.0, 1e-9) << "of the largest micro-batch";
  EXPECT_NEAR(first.predicted->send_seconds, 0.2, 1e-9);
  EXPECT_NEAR(second.predicted->backward_seconds, 4 / 9.0, 1e-9);
  // 16 bytes a parameter; activations of two micro-batches; four messages; two gradients: of two samples each.
  EXPECT_EQ(first.predicted_bytes, 16 * 1000 + 2 * 2 * 400 + 2 * 2 * 100 + 2 * 2 * 100);
  EXPECT_EQ(second.predicted_bytes, 16 * 2000 + 2 * 800 + 2 * 2 * 100 + 2 * 2 * 100);
  EXPECT_EQ(layout.strategy, profile.strategy);
  EXPECT_EQ(layout.model, "mlp");
}

TEST(LayoutPrediction, HoldsFewerMicroBatchesWhereMemoryEnds) {
  Profile profile = cluster_of({1, 1, 1}, {.blocks = 3}, 0);
  const auto in_flight = [&] {
    return predict_layout(profile, pipeline({1, 1, 1, 1}, {1, 2, 3}), "l").layout.replicas[0].stages[0].in_flight;
  };
  EXPECT_EQ(in_flight(), 3);
  profile.ranks[0].memory_bytes = 16 * 1000 + 2 * 400 + 2 * 100 + 2 * 100;
  EXPECT_EQ(in_flight(), 2);
}

TEST(LayoutPrediction, KeepsLessWithRecompute) {
  Profile profile = cluster_of({1, 1}, {.blocks = 4}, 0);
  profile.strategy.recompute = true;
  const Layout layout = predict_layout(profile, pipeline({1, 1}, {2, 4}), "l").layout;
  // Two micro-batches of the input of one block (the other reads data), one block's activations.
  EXPECT_EQ(layout.replicas[0].stages[0].predicted_bytes, 16 * 2000 + 2 * 100 + 400 + 2 * 100 + 2 * 100);
}

TEST(StageMemory, KnowsWhatAParameterTakes) {
  EXPECT_EQ(state_bytes_per_parameter({}, 1), 16);
  EXPECT_EQ(state_bytes_per_parameter({}, 4), 4 + 4 + 2 + 3);
  EXPECT_EQ(state_bytes_per_parameter({.precision = Precision::bf16}, 1), 2 + 4 + 4 + 8);
  EXPECT_EQ(state_bytes_per_parameter({.precision = Precision::fp64}, 1), 32);
}

TEST(LayoutPrediction, RefusesWhatDoesNotFit) {
  Profile profile = cluster_of({1, 1}, {.blocks = 4}, 0);
  const auto predicting = [&](const Layout& layout) {
    return [&profile, layout] { predict_layout(profile, layout, "layout.json"); };
  };
  EXPECT_THAT(predicting(pipeline({1}, {1, 2, 4})), ThrowsMessage<UsageError>(HasSubstr("rank 2")));
  EXPECT_THAT(predicting(pipeline({1}, {1, 2})), ThrowsMessage<UsageError>(HasSubstr("2 blocks")));
  profile.ranks[1].memory_bytes = 1000;
  EXPECT_THAT(predicting(pipeline({1}, {1, 4})),
              ThrowsMessage<UsageError>(
                  AllOf(HasSubstr("layout.json: stage 1 of replica 0 (blocks 1..3 on rank 1 (node)"),
                        HasSubstr("needs 48"), HasSubstr("the rank has 1000 B"), HasSubstr("fewer blocks"))));
  EXPECT_THAT(predicting({.blocks = 4, .replicas = {{65, {65}, {{.rank = 0, .start = 0, .end = 4}}}}}),
              ThrowsMessage<UsageError>(HasSubstr("at most 64 samples a micro-batch, not 65")));
  profile.ranks[0].curve.clear();
  EXPECT_THAT(predicting(pipeline({1}, {1, 4})), ThrowsMessage<UsageError>(HasSubstr("rank 0 (node) were not timed")));
  profile.strategy.mode = Mode::fsdp;
  EXPECT_THAT(predicting(pipeline({1}, {1, 4})), ThrowsMessage<UsageError>(HasSubstr("--mode ddp")));
}

}  // namespace
}  // namespace lshdp::plan
