// Which layouts the planner picks, and why.
#include <algorithm>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/plan/layout_planner.h"
#include "lshdp/plan/layout_prediction.h"
#include "lshdp/plan/solver.h"
#include "plan/layouts.h"

namespace lshdp::plan {
namespace {

using test::cluster_of;
using test::equal_weights;
using test::rank_of_speed;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

constexpr std::size_t kBlocks = 12;

LayoutSolution pipeline(const Profile& profile, std::int64_t total, StageCut stages) {
  return solve_layout(profile, {.total = total, .kind = LayoutKind::pipeline, .stages = stages});
}

double step_of(const LayoutSolution& solution) { return solution.layout.predicted.step_seconds; }

LayoutNeeds tied(std::size_t blocks) { return {.model = "", .blocks = blocks, .shared_parameters = {{0, blocks - 1}}}; }

TEST(LayoutPlanner, PicksAPipelineOnASlowNetworkAndDataParallelOnAFastOne) {
  const Profile slow = cluster_of({4, 4, 2, 8}, {.blocks = kBlocks, .parameters = 100'000}, 1e6);
  EXPECT_THAT(solve_layout(slow, {.total = 32}).layout.replicas, SizeIs(1));
  Profile fast = slow;
  fast.network.bytes_per_second = 1e12;
  const LayoutSolution solution = solve_layout(fast, {.total = 32});
  EXPECT_TRUE(is_data_parallel(solution.layout));
  EXPECT_THAT(solution.layout.replicas, SizeIs(4));
  EXPECT_NEAR(step_of(solution), solve(fast, {.total = 32}).plan.predicted.step_seconds, 1e-6);
}

TEST(LayoutPlanner, ProfiledIsFasterThanUniformOnUnequalRanks) {
  const Profile profile = cluster_of({4, 2, 1, 1}, {.blocks = 16}, 1e9);
  EXPECT_GE(step_of(pipeline(profile, 32, StageCut::uniform)),
            1.3 * step_of(pipeline(profile, 32, StageCut::profiled)));
}

TEST(LayoutPlanner, ProfiledKeepsTheOrderOfRanksAndUsesAllOfThem) {
  const Profile profile = cluster_of({1, 4, 2, 1}, {.blocks = 16}, 1e9);
  for (const StageCut cut : {StageCut::uniform, StageCut::speed, StageCut::profiled}) {
    const std::vector<Stage> stages = pipeline(profile, 32, cut).layout.replicas[0].stages;
    ASSERT_THAT(stages, SizeIs(4));
    for (std::size_t stage = 0; stage < 4; ++stage) EXPECT_EQ(stages[stage].rank, static_cast<std::int64_t>(stage));
  }
  const std::vector<Stage> uniform = pipeline(profile, 32, StageCut::uniform).layout.replicas[0].stages;
  const std::vector<Stage> speed = pipeline(profile, 32, StageCut::speed).layout.replicas[0].stages;
  EXPECT_EQ(uniform[1].end, 8U);
  EXPECT_EQ(speed[0].end, 2U);
  EXPECT_EQ(speed[1].end, 10U);
}

TEST(LayoutPlanner, AutomaticAndProfiledAreNeverSlowerThanUniform) {
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> speed(0.2, 4), exponent(3, 8);
  for (int i = 0; i < 20; ++i) {
    std::vector<double> speeds;
    for (std::size_t rank = 0; rank < 2 + random() % 4; ++rank) speeds.push_back(speed(random));
    Profile profile = cluster_of(speeds, {.blocks = kBlocks}, std::pow(10, exponent(random)));
    const std::int64_t total = 8 + static_cast<std::int64_t>(random() % 40);
    const double uniform = step_of(pipeline(profile, total, StageCut::uniform));
    const double profiled = step_of(pipeline(profile, total, StageCut::profiled));
    EXPECT_LE(profiled, uniform * (1 + 1e-9)) << i;
    EXPECT_LE(step_of(pipeline(profile, total, StageCut::automatic)), profiled * (1 + 1e-9)) << i;
  }
}

TEST(LayoutPlanner, LeavesWeakRanksOut) {
  std::vector<double> speeds{1, 1, 29, 1};
  do {
    Profile profile = cluster_of(speeds, {.blocks = 6}, 1e5);
    profile.network.latency_seconds = 0.05;
    const LayoutSolution solution = solve_layout(profile, {.total = 16});
    EXPECT_LE(step_of(solution), 16 / 29.0 * (1 + 1e-9));
    const auto used = [&](std::int64_t rank) { return replica_of(solution.layout, rank).has_value(); };
    for (std::int64_t rank = 0; rank < 4; ++rank) EXPECT_EQ(used(rank), speeds[static_cast<std::size_t>(rank)] == 29);
    ASSERT_THAT(solution.left_out, SizeIs(3));
    EXPECT_THAT(solution.left_out[0], HasSubstr("(node) is left out: the best layout found with it takes "));
  } while (std::ranges::next_permutation(speeds).found);
}

TEST(LayoutPlanner, ComesBackToTheFirstRankWhereParametersAreShared) {
  const Profile profile = cluster_of({4, 2, 1}, {.blocks = kBlocks, .parameters = 100'000}, 1e6);
  const LayoutNeeds needs = tied(kBlocks);
  for (const StageCut cut : {StageCut::uniform, StageCut::speed, StageCut::profiled, StageCut::automatic}) {
    const LayoutSolution solution =
        solve_layout(profile, {.total = 16, .kind = LayoutKind::pipeline, .stages = cut, .needs = needs});
    const std::vector<Stage>& stages = solution.layout.replicas[0].stages;
    EXPECT_THAT(stages, SizeIs(4));
    EXPECT_EQ(stages.front().rank, stages.back().rank);
    EXPECT_NO_THROW(require_fits(solution.layout, needs, 3, "layout"));
    EXPECT_NO_THROW(predict_layout(profile, solution.layout, "layout"));
  }
}

TEST(LayoutPlanner, MemoryAsksForMoreStages) {
  Profile profile = cluster_of({4, 4, 0.1, 0.1}, {.blocks = kBlocks, .parameters = 100'000}, 1e6);
  EXPECT_THAT(pipeline(profile, 16, StageCut::automatic).layout.replicas[0].stages, SizeIs(testing::Lt(4)));
  for (RankProfile& rank : profile.ranks) rank.memory_bytes = 3 * 16 * 100'000 + 50'000;
  const LayoutSolution tight = pipeline(profile, 16, StageCut::automatic);
  EXPECT_THAT(tight.layout.replicas[0].stages, SizeIs(4));
  for (const Stage& stage : tight.layout.replicas[0].stages)
    EXPECT_LE(stage.predicted_bytes, 3 * 16 * 100'000 + 50'000);
  for (RankProfile& rank : profile.ranks) rank.memory_bytes = 2 * 16 * 100'000;
  EXPECT_THAT([&] { pipeline(profile, 16, StageCut::automatic); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("no layout fits"), HasSubstr("but the rank has 3.05 MiB"))));
}

TEST(LayoutPlanner, TellsWhatItComparedAndPredictsWhatItPicks) {
  const Profile profile = cluster_of({4, 2, 1}, {.blocks = kBlocks, .parameters = 100'000}, 1e6);
  const LayoutSolution solution = solve_layout(profile, {.total = 16});
  ASSERT_GE(solution.alternatives.size(), 2U);
  for (const LayoutAlternative& alternative : solution.alternatives) {
    EXPECT_TRUE(alternative.step_seconds == 0 || alternative.step_seconds >= step_of(solution)) << alternative.name;
  }
  EXPECT_GE(step_of(solution), solution.least_step_seconds);
  EXPECT_NEAR(predict_layout(profile, solution.layout, "l").layout.predicted.step_seconds, step_of(solution), 1e-9);
  EXPECT_THAT(solution.left_out, IsEmpty());
  EXPECT_THAT(solution.idle_share, SizeIs(3));
}

TEST(LayoutPlanner, LeavesOutARankThatDoesNotHoldTheModel) {
  Profile profile = cluster_of({4, 2, 1}, {.blocks = kBlocks}, 1e6);
  profile.ranks[1].max_batch = 0;
  profile.ranks[1].curve.clear();
  profile.ranks[1].block_times.clear();
  const LayoutSolution solution = solve_layout(profile, {.total = 16});
  EXPECT_FALSE(replica_of(solution.layout, 1).has_value());
  EXPECT_THAT(solution.left_out, testing::Contains(HasSubstr("Rank 1 (node) is left out: the whole model does not")));
}

TEST(LayoutPlanner, RefusesWhatCannotBe) {
  Profile profile = cluster_of({4, 2, 1}, {.blocks = 2}, 1e6);
  EXPECT_THAT([&] { pipeline(profile, 16, StageCut::uniform); },
              ThrowsMessage<UsageError>(HasSubstr("2 blocks, but 3 ranks ask for 3 stages")));
  EXPECT_THAT([&] { pipeline(profile, 0, StageCut::uniform); }, ThrowsMessage<UsageError>(HasSubstr("--total")));
  profile.strategy.mode = Mode::fsdp;
  EXPECT_THAT([&] { pipeline(profile, 16, StageCut::automatic); },
              ThrowsMessage<UsageError>(HasSubstr("--mode ddp, not fsdp")));
  EXPECT_TRUE(is_data_parallel(solve_layout(profile, {.total = 16}).layout));
  EXPECT_THAT([] { layout_kind_from_text("tensor"); },
              ThrowsMessage<UsageError>(HasSubstr("--layout: unknown 'tensor'")));
  EXPECT_EQ(stage_cut_from_text("auto"), StageCut::automatic);
}

}  // namespace
}  // namespace lshdp::plan
