// When a pipeline is cut anew: drift and back, noise, what a move takes, memory, and cuts that broke their promise.
#include <functional>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/plan/layout_planner.h"
#include "lshdp/plan/layout_prediction.h"
#include "lshdp/plan/stage_rebalance.h"
#include "plan/layouts.h"

namespace lshdp::plan {
namespace {

using test::BlockModel;
using test::cluster_of;
using ::testing::ElementsAre;
using Ends = std::vector<std::size_t>;

constexpr std::int64_t kTotal = 64;

Layout planned(const Profile& profile) {
  return solve_layout(profile, {.total = kTotal, .kind = LayoutKind::pipeline, .stages = StageCut::profiled}).layout;
}

Ends ends_of(const Layout& layout) {
  Ends ends;
  for (const Stage& stage : layout.replicas.front().stages) ends.push_back(stage.end);
  return ends;
}

/// Ranks that compute as profiled, times their slowness of the moment, in a run that follows the StageRebalancer.
class WatchedPipeline {
 public:
  explicit WatchedPipeline(const Profile& profile, StageRebalanceOptions options = {})
      : profile_(profile), slowness(profile.ranks.size(), 1.0), rebalancer(planned(profile), profile, quick(options)) {}

  /// Runs `count` steps; `noise(step, rank)` stretches a rank's time, and `stretch` the steps.
  void steps(int count, const std::function<double(std::int64_t, std::size_t)>& noise = {}, double stretch = 1) {
    const Prediction exact = predict_layout(slowed(profile_, slowness), rebalancer.layout(), "layout").layout.predicted;
    for (int i = 0; i < count; ++i) {
      StepObservation seen{++step_, stretch * exact.step_seconds, exact.compute_seconds, {}};
      for (std::size_t r = 0; noise && r < slowness.size(); ++r) seen.compute_seconds[r] *= noise(step_, r);
      for (const double compute : seen.compute_seconds)
        seen.wait_seconds.push_back(std::max(0.0, seen.step_seconds - compute));
      rebalancer.observe(seen);
    }
  }
  /// What is decided now, carried out.
  std::optional<Recut> decide() {
    auto change = rebalancer.decide();
    if (change) rebalancer.apply(*change, step_ + 1);
    return change;
  }
  Ends ends() const { return ends_of(rebalancer.layout()); }
  double step_seconds() const {
    return predict_layout(slowed(profile_, slowness), rebalancer.layout(), "layout").layout.predicted.step_seconds;
  }
  double fresh_step_seconds() const { return planned(slowed(profile_, slowness)).predicted.step_seconds; }

 private:
  static StageRebalanceOptions quick(StageRebalanceOptions options) {
    options.rebalance.window_seconds = 0;
    return options;
  }

  Profile profile_;
  std::int64_t step_ = 0;

 public:
  std::vector<double> slowness;
  StageRebalancer rebalancer;
};

Profile three_ranks(double bytes_per_second = 1e9) {
  return cluster_of({40, 40, 40}, {.blocks = 24}, bytes_per_second);
}

TEST(StageRebalancer, LeavesCutsAloneThatAreStillRight) {
  WatchedPipeline run(three_ranks());
  run.steps(20);
  EXPECT_FALSE(run.decide());
  EXPECT_THAT(run.ends(), ElementsAre(8, 16, 24));
}

TEST(StageRebalancer, GivesBlocksOfASlowRankToTheOthersAndBack) {
  WatchedPipeline run(three_ranks());
  for (std::size_t slow = 0; slow < 3; ++slow) {
    const Ends before = run.ends();
    run.slowness[slow] = 2;
    run.steps(8);
    const auto change = run.decide();
    ASSERT_TRUE(change) << slow;
    EXPECT_NEAR(change->slowness[slow], 2, 0.02);
    EXPECT_LT(run.step_seconds(), 1.1 * run.fresh_step_seconds()) << slow;
    EXPECT_NEAR(change->expected_step_seconds, run.step_seconds(), 0.05 * run.step_seconds());
    run.slowness[slow] = 1;
    run.steps(8);
    ASSERT_TRUE(run.decide()) << slow;
    EXPECT_EQ(run.ends(), before) << slow;
  }
}

TEST(StageRebalancer, FindsBackWithFewBlocks) {
  WatchedPipeline run(cluster_of({10, 10, 10, 10}, {.blocks = 8}, 1e9));
  const Ends before = run.ends();
  run.slowness[0] = 3;
  run.steps(8);
  ASSERT_TRUE(run.decide());
  EXPECT_LT(run.ends().front(), before.front());
  run.slowness[0] = 1;
  run.steps(8);
  ASSERT_TRUE(run.decide());
  EXPECT_EQ(run.ends(), before);
}

TEST(StageRebalancer, KeepsRanksTheirOrderAndMicroBatches) {
  WatchedPipeline run(three_ranks());
  const Replica before = run.rebalancer.layout().replicas.front();
  run.slowness[1] = 3;
  run.steps(8);
  ASSERT_TRUE(run.decide());
  const Replica& now = run.rebalancer.layout().replicas.front();
  EXPECT_EQ(now.micro_batches, before.micro_batches);
  ASSERT_EQ(now.stages.size(), before.stages.size());
  for (std::size_t stage = 0; stage < now.stages.size(); ++stage)
    EXPECT_EQ(now.stages[stage].rank, before.stages[stage].rank);
}

TEST(StageRebalancer, IgnoresOneSlowWindowAndNoise) {
  WatchedPipeline run(three_ranks());
  run.steps(6, [](std::int64_t step, std::size_t rank) { return rank == 0 && step > 3 ? 2.0 : 1.0; });
  EXPECT_FALSE(run.decide());
  for (int i = 0; i < 20; ++i) {
    run.steps(6, [](std::int64_t step, std::size_t rank) {
      return 1 + 0.03 * static_cast<double>((step * 7 + static_cast<std::int64_t>(rank) * 3) % 5 - 2);
    });
    EXPECT_FALSE(run.decide()) << i;
  }
}

TEST(StageRebalancer, MovesNothingThatTakesLongerThanItSaves) {
  const Profile fast = three_ranks();
  Profile slow_links = fast;
  for (BlockProfile& block : slow_links.blocks) block.parameters = 100'000'000'000;
  WatchedPipeline small(fast), large(slow_links);
  for (WatchedPipeline* run : {&small, &large}) {
    run->slowness[0] = 2;
    run->steps(8);
  }
  EXPECT_TRUE(small.decide());
  EXPECT_FALSE(large.decide());
}

TEST(StageRebalancer, MovesNothingJustBeforeTheEnd) {
  const Profile profile = three_ranks(1e5);  // a block takes an eighth of a second
  WatchedPipeline early(profile, {.last_step = 1000}), late(profile, {.last_step = 8});
  for (WatchedPipeline* run : {&early, &late}) {
    run->slowness[0] = 2;
    run->steps(8);
  }
  EXPECT_TRUE(early.decide());
  EXPECT_FALSE(late.decide());
}

TEST(StageRebalancer, KeepsWithinTheMemoryOfTheOtherRanks) {
  Profile profile = three_ranks();
  const Layout layout = planned(profile);
  const auto most = [&](std::size_t stage) { return layout.replicas.front().stages[stage].predicted_bytes; };
  profile.ranks[1].memory_bytes = most(1) + most(1) / 16;  // not for another block
  WatchedPipeline run(profile);
  run.slowness[0] = 2;
  run.steps(8);
  run.decide();
  const std::vector<Stage>& stages = run.rebalancer.layout().replicas.front().stages;
  EXPECT_LE(stages[1].end - stages[1].start, 8U);
}

/// Rank 1 becomes `slowness` times as slow after a move that brought what it promised, or did not.
bool moves_again(double slowness, bool kept_promise) {
  WatchedPipeline run(three_ranks());
  run.slowness[0] = 2;
  run.steps(8);
  EXPECT_TRUE(run.decide());
  run.slowness[1] = slowness;
  run.steps(8, {}, kept_promise ? 1 : 1.5);
  return run.decide().has_value();
}

TEST(StageRebalancer, AsksForTwiceAsMuchAfterCutsThatBrokeTheirPromise) {
  double slowness = 1;
  while (slowness < 3 && !moves_again(slowness, true)) slowness += 0.05;
  EXPECT_GT(slowness, 1);
  ASSERT_LT(slowness, 3);
  EXPECT_FALSE(moves_again(slowness, false));
}

TEST(StageRebalancer, KeepsAPipelineThatComesBackToItsFirstRank) {
  Profile profile = three_ranks();
  profile.blocks.back().shares_with = {0};
  WatchedPipeline run(profile);
  ASSERT_EQ(run.ends().size(), 4U);
  run.slowness[0] = 2;
  run.steps(8);
  ASSERT_TRUE(run.decide());
  EXPECT_LT(run.step_seconds(), 1.1 * run.fresh_step_seconds());
  const Replica& replica = run.rebalancer.layout().replicas.front();
  EXPECT_EQ(replica.stages.front().rank, replica.stages.back().rank);
}

}  // namespace
}  // namespace lshdp::plan
