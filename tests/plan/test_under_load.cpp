// Correcting a profile by what steps of all ranks together took.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/plan/solver.h"
#include "lshdp/plan/under_load.h"
#include "profiles.h"

namespace lshdp::plan {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

/// Two ranks, the second with half the speed, at 1 MB/s; nothing hides the way of 10 kB.
Profile unequal() {
  Profile profile = test::with_network(
      test::make_profile({test::linear_rank(64, 0.01, 0.01), test::linear_rank(64, 0.02, 0.02)}), 1e6, 100'000);
  profile.exposed_bytes = 10'000;
  return profile;
}

TEST(UnderLoad, TheModelThenGivesWhatWasMeasured) {
  const std::vector<std::int64_t> batches{40, 20};
  const Profile before = unequal();
  const Plan plan = plan_for(before, batches, 0);
  const Profile after = under_load(before, plan, {0.52, {0.45, 0.5}});
  EXPECT_NEAR(predict(after, batches, 0)->step_seconds, 0.52, 1e-9);
  EXPECT_THAT(predict(after, batches, 0)->compute_seconds, ElementsAre(DoubleNear(0.45, 1e-9), DoubleNear(0.5, 1e-9)));
  EXPECT_NEAR(after.ranks[0].contention_factor, 0.45 / 0.41, 1e-9);
  EXPECT_NEAR(after.ranks[1].contention_factor, 0.5 / 0.42, 1e-9);
  EXPECT_NEAR(after.network.exposed_factor, 2.0, 1e-9);  // 20 ms where 10 kB alone take 10 ms
}

TEST(UnderLoad, WhatACutCostsTheNetworkIsNotTakenForTheBoundary) {
  Profile before = unequal();
  for (RankProfile& rank : before.ranks)
    rank.max_batch = 20, rank.curve.back() = {20, 20 * rank.curve.front().seconds / 2};
  before.gradient_bytes = before.parameter_bytes = 300'000;  // 0.3 s on the wire
  const Plan plan = plan_for(before, {40, 20}, 0);
  ASSERT_EQ(plan.ranks[0].micro_batches.size(), 2);
  const double predicted = predict(before, {40, 20}, 0)->step_seconds;
  ASSERT_GT(predicted, 0.4);  // half of the computing of rank 0, and the wire
  const auto compute = predict(before, {40, 20}, 0)->compute_seconds;
  const Profile after = under_load(before, plan, {predicted, compute});
  EXPECT_NEAR(after.network.exposed_factor, 1, 1e-6);
}

TEST(UnderLoad, MovesTheSplitTowardsRanksThatLoadHurtsLess) {
  const Profile before = unequal();
  const Plan plan = solve(before, {.total = 60}).plan;
  const Profile after = under_load(before, plan, {0.6, {0.41, 0.55}});
  EXPECT_GT(solve(after, {.total = 60}).plan.ranks[0].batch, plan.ranks[0].batch);
}

TEST(UnderLoad, ChargesTransfersWithWhatTheyTookWhateverTheBatch) {
  Profile before = unequal();
  before.gradient_bytes = before.parameter_bytes = 100'000;  // a rank sends and receives twice as much
  before.network.cpu_seconds_per_byte = 1e-9;
  for (RankProfile& rank : before.ranks) rank.cores = 0.5;
  // 50 ms of CPU time are 100 ms of half a core: computing alone takes 410 and 420 ms.
  const Profile after = under_load(before, plan_for(before, {40, 20}, 0), {0.6, {0.51, 0.52}, 0.05});
  EXPECT_NEAR(after.network.cpu_seconds_per_byte, 0.05 / 200'000, 1e-15);
  EXPECT_NEAR(after.ranks[0].contention_factor, 1, 1e-9);
  EXPECT_NEAR(after.ranks[1].contention_factor, 1, 1e-9);
  // The slower rank: 0.82 s of computing, 0.1 of transfers; 0.08 were exposed.
  EXPECT_NEAR(predict(after, {20, 40}, 0)->step_seconds, 1.0, 1e-9);
}

TEST(UnderLoad, LeavesRanksWithoutSamplesAlone) {
  const Profile before = unequal();
  const Profile after = under_load(before, plan_for(before, {60, 0}, 0), {0.7, {0.65, 0.0}});
  EXPECT_EQ(after.ranks[1].contention_factor, 1);
  EXPECT_EQ(after.ranks[1].curve[0].seconds, before.ranks[1].curve[0].seconds);
}

TEST(UnderLoad, TakesADisturbanceForNoMoreThanFourTimesTheComputing) {
  const Profile before = unequal();
  const Profile after = under_load(before, plan_for(before, {40, 20}, 0), {100, {90.0, 0.0001}});
  EXPECT_EQ(after.ranks[0].contention_factor, 4);
  EXPECT_EQ(after.ranks[1].contention_factor, 0.5);
  EXPECT_EQ(after.network.exposed_factor, 64);
}

TEST(UnderLoad, AStepMayExposeManyTimesTheBoundary) {
  const Profile before = unequal();
  const Profile after = under_load(before, plan_for(before, {40, 20}, 0), {0.42 + 0.2, {0.41, 0.42}});
  EXPECT_NEAR(after.network.exposed_factor, 20.0, 1e-9);  // 10 kB alone take 10 ms
}

TEST(UnderLoad, WhereTheWireBindsOnlyWhatIsBeyondItIsTheBoundary) {
  Profile before = unequal();
  before.gradient_bytes = before.parameter_bytes = 1'000'000;  // one second on the wire
  const Profile after = under_load(before, plan_for(before, {40, 20}, 0), {1.03, {0.41, 0.42}});
  EXPECT_NEAR(after.network.exposed_factor, 3.0, 1e-9);
}

TEST(UnderLoad, ScalesTheRanksOfALayoutByWhatItsStepsShowed) {
  Profile before = unequal();
  before.ranks.push_back(before.ranks.back());
  before.ranks.back().rank = 2;
  Layout layout;
  layout.predicted.compute_seconds = {0.4, 0.5, 0.0};  // rank 2 is left out
  const Profile after = under_load(before, layout, {.step_seconds = 0.7, .compute_seconds = {0.44, 0.45, 0.0}});
  EXPECT_NEAR(after.ranks[0].contention_factor, 1.1, 1e-12);
  EXPECT_NEAR(after.ranks[1].contention_factor, 0.9, 1e-12);
  EXPECT_EQ(after.ranks[2].contention_factor, 1);
  EXPECT_NEAR(after.ranks[0].curve.back().seconds, 1.1 * before.ranks[0].curve.back().seconds, 1e-12);
  EXPECT_EQ(after.ranks[2].curve.back().seconds, before.ranks[2].curve.back().seconds);
  EXPECT_EQ(after.network.exposed_factor, before.network.exposed_factor);
}

}  // namespace
}  // namespace lshdp::plan
