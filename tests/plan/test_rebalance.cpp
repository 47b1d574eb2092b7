// When a run gets a new split: drift up, down and back, noise, limits, idle ranks, and splits that broke their promise.
#include <functional>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/plan/rebalance.h"
#include "lshdp/plan/solver.h"
#include "plan/profiles.h"

namespace lshdp::plan {
namespace {

using test::linear_rank;
using test::make_profile;
using test::make_rank;
using ::testing::Each;
using ::testing::ElementsAre;
using Batches = std::vector<std::int64_t>;

/// Ranks that take 1 ms a sample, each times its slowness of the moment, in a run that follows the Rebalancer.
class WatchedRun {
 public:
  WatchedRun(const Profile& profile, const Plan& plan, bool profile_known = true, double min_gain = 0.05,
             double window_seconds = 0)
      : profile_(profile),
        slowness(profile.ranks.size(), 1.0),
        rebalancer(plan, profile_known ? std::optional(profile) : std::nullopt,
                   {.min_gain = min_gain, .window_seconds = window_seconds}) {}

  /// Runs `count` steps; `noise(step, rank)` stretches a rank's time.
  void steps(int count, const std::function<double(std::int64_t, std::size_t)>& noise = {}) {
    for (int i = 0; i < count; ++i) {
      StepObservation seen{++step_, 0, {}, {}};
      const auto exact = plan_for(slowed(profile_, slowness), batches(), 0).predicted;
      for (std::size_t r = 0; r < slowness.size(); ++r) {
        seen.compute_seconds.push_back(exact.compute_seconds[r] * (noise ? noise(step_, r) : 1));
        seen.step_seconds = std::max(seen.step_seconds, seen.compute_seconds[r]);
      }
      for (const double compute : seen.compute_seconds) seen.wait_seconds.push_back(seen.step_seconds - compute);
      rebalancer.observe(seen);
    }
  }
  /// What is decided now, carried out.
  std::optional<Rebalance> decide() {
    auto change = rebalancer.decide();
    if (change) rebalancer.apply(*change, step_ + 1);
    return change;
  }
  Batches batches() const {
    Batches result;
    for (const RankPlan& rank : rebalancer.plan().ranks) result.push_back(rank.batch);
    return result;
  }

 private:
  Profile profile_;
  std::int64_t step_ = 0;

 public:
  std::vector<double> slowness;
  Rebalancer rebalancer;
};

Profile three_equal_ranks() {
  const RankProfile rank = linear_rank(64, 0, 1e-3);
  return make_profile({rank, rank, rank});
}

WatchedRun run_of(const Profile& profile, std::int64_t total) {
  return {profile, solve(profile, {.total = total}).plan};
}

TEST(Rebalancer, LeavesASplitAloneThatIsStillRight) {
  WatchedRun run = run_of(three_equal_ranks(), 30);
  run.steps(20);
  EXPECT_FALSE(run.decide());
}

TEST(Rebalancer, DecidesNothingBeforeTwoWindowsAreFull) {
  WatchedRun run = run_of(three_equal_ranks(), 30);
  run.slowness = {4, 1, 1};
  run.steps(5);
  EXPECT_FALSE(run.decide());
  run.steps(1);
  EXPECT_TRUE(run.decide());
}

TEST(Rebalancer, LooksAtMoreStepsWhereTheyAreShort) {
  const Profile profile = three_equal_ranks();
  WatchedRun run(profile, solve(profile, {.total = 30}).plan, true, 0.05, 1);
  run.slowness = {2, 1, 1};
  run.steps(19);  // of 20 ms
  EXPECT_FALSE(run.decide());
  run.steps(1);
  EXPECT_TRUE(run.decide());
}

TEST(Rebalancer, TakesWorkFromARankThatSlowedDownAndGivesItBack) {
  WatchedRun run = run_of(three_equal_ranks(), 30);
  run.slowness = {2, 1, 1};
  run.steps(6);
  const auto change = run.decide();
  ASSERT_TRUE(change);
  EXPECT_THAT(change->batches, ElementsAre(6, 12, 12));
  EXPECT_THAT(change->slowness, ElementsAre(testing::DoubleNear(2, 0.01), 1, 1));
  EXPECT_NEAR(change->step_seconds, 0.020, 1e-9);
  EXPECT_NEAR(change->expected_step_seconds, 0.012, 1e-4);
  run.steps(6);
  EXPECT_FALSE(run.decide());
  run.slowness = {1, 1, 1};
  run.steps(6);
  ASSERT_TRUE(run.decide());
  EXPECT_THAT(run.batches(), ElementsAre(10, 10, 10));
}

TEST(Rebalancer, LeavesSizesInFlightAlone) {
  const Profile profile = three_equal_ranks();
  Plan plan = solve(profile, {.total = 30}).plan;
  plan.transfer = {.segment_bytes = 1 << 16, .sends_in_flight = 2, .bucket_bytes = 0};
  WatchedRun run(profile, plan);
  run.slowness = {2, 1, 1};
  run.steps(6);
  ASSERT_TRUE(run.decide());
  EXPECT_EQ(run.rebalancer.plan().transfer, plan.transfer);
}

TEST(Rebalancer, GivesMoreToARankThatBecameFaster) {
  WatchedRun run = run_of(three_equal_ranks(), 40);
  run.slowness = {1, 1, 0.5};
  run.steps(6);
  ASSERT_TRUE(run.decide());
  EXPECT_THAT(run.batches(), ElementsAre(10, 10, 20));
}

TEST(Rebalancer, IsNotMovedByNoiseNorByTwoOddSteps) {
  WatchedRun run = run_of(three_equal_ranks(), 60);
  run.steps(6, [](std::int64_t step, std::size_t rank) { return 1 + 0.02 * static_cast<double>((step + rank) % 3); });
  EXPECT_FALSE(run.decide());
  run.steps(6, [](std::int64_t step, std::size_t rank) { return rank == 1 && step % 3 == 0 ? 5 : 1; });
  EXPECT_FALSE(run.decide());
}

TEST(Rebalancer, IsNotMovedByADriftThatEndedAWindowAgo) {
  WatchedRun run = run_of(three_equal_ranks(), 60);
  run.slowness = {3, 1, 1};
  run.steps(3);
  run.slowness = {1, 1, 1};
  run.steps(3);
  EXPECT_FALSE(run.decide());
}

TEST(Rebalancer, KeepsTheTotalAndTheLargestBatchOfEachRank) {
  const Profile profile = make_profile({linear_rank(4, 1e-4, 1e-3), linear_rank(7, 0, 2e-3), linear_rank(64, 0, 3e-3)});
  for (const double slow : {0.2, 0.5, 3.0, 20.0}) {
    WatchedRun run = run_of(profile, 37);
    run.slowness = {slow, 1, 1};
    run.steps(6);
    const auto change = run.decide();
    ASSERT_TRUE(change) << slow;
    EXPECT_EQ(std::accumulate(change->batches.begin(), change->batches.end(), std::int64_t{0}), 37);
    for (const RankPlan& rank : run.rebalancer.plan().ranks) {
      EXPECT_THAT(rank.micro_batches, Each(testing::Le(profile.ranks[static_cast<std::size_t>(rank.rank)].max_batch)));
      EXPECT_EQ(std::accumulate(rank.micro_batches.begin(), rank.micro_batches.end(), std::int64_t{0}), rank.batch);
    }
  }
}

TEST(Rebalancer, FindsARankWithoutSamplesAgainByItsUpdate) {
  Profile profile = three_equal_ranks();
  for (RankProfile& rank : profile.ranks) rank.update_seconds = 1e-4;
  WatchedRun run = run_of(profile, 30);
  run.slowness = {40, 1, 1};
  run.steps(6);
  ASSERT_TRUE(run.decide());
  EXPECT_THAT(run.batches(), ElementsAre(0, 15, 15));
  run.steps(6);
  EXPECT_FALSE(run.decide());
  run.slowness = {1, 1, 1};
  run.steps(6);
  ASSERT_TRUE(run.decide());
  EXPECT_THAT(run.batches(), ElementsAre(10, 10, 10));
}

TEST(Rebalancer, LearnsFromTheRunWhereThereIsNoProfile) {
  WatchedRun run(three_equal_ranks(), plan_from_batches({10, 10, 20}, {8, 64, 8}), false);
  run.steps(6);
  ASSERT_TRUE(run.decide());
  std::int64_t total = 0;
  for (const RankPlan& rank : run.rebalancer.plan().ranks) total += rank.batch;
  EXPECT_EQ(total, 40);
  EXPECT_THAT(run.batches(), Each(testing::AllOf(testing::Ge(13), testing::Le(14))));
  for (const RankPlan& rank : run.rebalancer.plan().ranks) EXPECT_THAT(rank.micro_batches, Each(testing::Le(10)));
}

TEST(Rebalancer, WithoutAProfileGivesNothingToARankItHasNeverSeenWork) {
  WatchedRun run(three_equal_ranks(), plan_from_batches({0, 10, 30}), false);
  run.steps(6);
  ASSERT_TRUE(run.decide());
  EXPECT_THAT(run.batches(), ElementsAre(0, 20, 20));
}

TEST(Rebalancer, DoesNotBlameAComputingRankForTransfersOnItsCore) {
  Profile profile = test::with_network(three_equal_ranks(), 1e9, 1'000'000);
  profile.network.cpu_seconds_per_byte = 1e-9;  // 8/3 ms a step on each core
  const Plan plan = solve(profile, {.total = 30}).plan;
  Rebalancer rebalancer(plan, profile, {.window_seconds = 0});
  // Rank 0's transfers all fell into its computing, rank 2's into its waiting.
  for (std::int64_t step = 1; step <= 6; ++step) {
    rebalancer.observe({step, 12.7e-3, {12.67e-3, 11e-3, 10e-3}, {0, 1.6e-3, 2.6e-3}});
  }
  EXPECT_FALSE(rebalancer.decide());
}

TEST(Rebalancer, AsksForMoreAfterASplitThatBrokeItsPromise) {
  // Whoever has most samples is disturbed: no split helps.
  WatchedRun run = run_of(three_equal_ranks(), 60);
  int changes = 0;
  for (int decision = 0; decision < 30; ++decision) {
    const Batches now = run.batches();
    const std::size_t most = static_cast<std::size_t>(std::max_element(now.begin(), now.end()) - now.begin());
    run.steps(6, [&](std::int64_t, std::size_t rank) { return rank == most ? 1.3 : 1; });
    if (run.decide()) ++changes;
  }
  EXPECT_GT(changes, 0);
  EXPECT_LT(changes, 15);
}

TEST(Rebalancer, PassesOverStepsOfTheSplitBefore) {
  WatchedRun run = run_of(three_equal_ranks(), 30);
  run.slowness = {2, 1, 1};
  run.steps(6);
  const auto change = run.rebalancer.decide();
  ASSERT_TRUE(change);
  run.rebalancer.apply(*change, 20);
  run.steps(6);  // steps 7 to 12
  EXPECT_FALSE(run.rebalancer.decide());
}

}  // namespace
}  // namespace lshdp::plan
