// Ranks that measuring cannot tell apart are planned as equal, and only those.
#include <cmath>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/text.h"
#include "lshdp/plan/alike_ranks.h"
#include "lshdp/plan/rebalance.h"
#include "lshdp/plan/solver.h"
#include "plan/profiles.h"

namespace lshdp::plan {
namespace {

using test::make_profile;
using test::make_rank;
using ::testing::AllOf;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr double kOverhead = 0.01, kPerSample = 0.02;

/// A rank that takes `slower` times as long as another, timed at 1, 2, 4, .. max_batch.
RankProfile rank_of(double slower, std::int64_t max_batch = 16) {
  std::vector<CurvePoint> curve;
  for (std::int64_t batch = 1; batch <= max_batch; batch *= 2)
    curve.push_back({batch, slower * (kOverhead + kPerSample * static_cast<double>(batch))});
  return make_rank(max_batch, std::move(curve));
}

Profile profile_of(const std::vector<double>& slower) {
  std::vector<RankProfile> ranks;
  for (const double one : slower) ranks.push_back(rank_of(one));
  return make_profile(std::move(ranks));
}

std::vector<std::vector<std::size_t>> groups_of(const PooledProfile& pooled) {
  std::vector<std::vector<std::size_t>> groups;
  for (const AlikeRanks& alike : pooled.alike) groups.push_back(alike.ranks);
  return groups;
}

TEST(AlikeRanks, ThreePerCentApartGetEqualBatchesWhereTheTotalAllows) {
  const Profile profile = profile_of({1, 1.03, 2});
  EXPECT_NE(batches_of(solve(profile, {.total = 161}).plan)[0], batches_of(solve(profile, {.total = 161}).plan)[1]);
  const PooledProfile pooled = pool_alike_ranks(profile);
  EXPECT_THAT(groups_of(pooled), ElementsAre(ElementsAre(0, 1)));
  EXPECT_NEAR(pooled.alike[0].apart, 0.03, 1e-9);
  for (const std::int64_t total : {80, 161, 400}) {
    const std::vector<std::int64_t> batches = batches_of(solve(pooled.profile, {.total = total}).plan);
    EXPECT_LE(std::abs(batches[0] - batches[1]), (total - batches[2]) % 2) << total;
  }
}

TEST(AlikeRanks, FifteenPerCentApartStayApart) {
  const Profile profile = profile_of({1, 1.15, 1.15 * 1.15});
  const PooledProfile pooled = pool_alike_ranks(profile);
  EXPECT_THAT(pooled.alike, IsEmpty());
  EXPECT_EQ(to_json(pooled.profile), to_json(profile));
}

TEST(AlikeRanks, OfAChainAreNotPooledIntoOne) {
  const PooledProfile pooled = pool_alike_ranks(profile_of({1, 1.038, 1.077, 1.118, 1.16}));
  EXPECT_THAT(pooled.alike, testing::SizeIs(2));
  for (const AlikeRanks& alike : pooled.alike) {
    EXPECT_EQ(alike.ranks.size(), 2U);
    EXPECT_LE(alike.apart, kAlike);
  }
}

TEST(AlikeRanks, OfTwoNeighboursTheNearerIsPooled) {
  EXPECT_THAT(groups_of(pool_alike_ranks(profile_of({1, 1.039, 1.042}))), ElementsAre(ElementsAre(1, 2)));
}

TEST(AlikeRanks, ShareTheGeometricMeanOfTheirTimes) {
  Profile profile = profile_of({1, 1.02});
  profile.ranks[0].curve[2].seconds *= 1.1;  // one point each that was disturbed
  profile.ranks[1].curve[3].seconds *= 0.95;
  profile.ranks[0].update_seconds = 1e-4;
  profile.ranks[0].cores = 0.5;
  profile.ranks[1].cores = 0.52;
  const PooledProfile pooled = pool_alike_ranks(profile);
  ASSERT_THAT(groups_of(pooled), ElementsAre(ElementsAre(0, 1)));
  for (const RankProfile& rank : pooled.profile.ranks) {
    ASSERT_EQ(rank.curve.size(), 5U);
    EXPECT_NEAR(rank.curve[2].seconds, std::sqrt(1.1 * 1.02) * (kOverhead + 4 * kPerSample), 1e-9);
    EXPECT_EQ(rank.curve[4].seconds, pooled.profile.ranks[0].curve[4].seconds);
    EXPECT_NEAR(rank.update_seconds, 5e-5, 1e-12);
    EXPECT_NEAR(rank.cores, std::sqrt(0.5 * 0.52), 1e-12);
  }
}

TEST(AlikeRanks, ShareTheMeanOfTheirBlocksParts) {
  Profile profile = profile_of({1, 1.02});
  profile.blocks = {{"one"}, {"two"}};
  // A quarter and three eighths of the forward are the first block's, in times of any scale.
  profile.ranks[0].block_times = {{4, {1, 1}, {1, 1}}};
  profile.ranks[1].block_times = {{4, {6, 2}, {4, 4}}};
  const PooledProfile pooled = pool_alike_ranks(profile);
  ASSERT_THAT(groups_of(pooled), ElementsAre(ElementsAre(0, 1)));
  const RankProfile &one = pooled.profile.ranks[0], &other = pooled.profile.ranks[1];
  const double seconds = one.curve[2].seconds;
  EXPECT_THAT(one.block_times[0].forward,
              ElementsAre(DoubleNear(0.3125 * seconds, 1e-12), DoubleNear(0.1875 * seconds, 1e-12)));
  EXPECT_EQ(one.block_times[0].forward, other.block_times[0].forward);
  EXPECT_EQ(one.block_times[0].backward, other.block_times[0].backward);
}

TEST(AlikeRanks, MayHoldBatchesOfDifferentSize) {
  Profile profile = make_profile({rank_of(1, 4), rank_of(1.03, 64), rank_of(3, 64), rank_of(3.3, 16)});
  profile.ranks[0].memory_bytes = 1 << 20;
  const PooledProfile pooled = pool_alike_ranks(profile);
  ASSERT_THAT(groups_of(pooled), ElementsAre(ElementsAre(0, 1)));
  const RankProfile &small = pooled.profile.ranks[0], &large = pooled.profile.ranks[1];
  EXPECT_EQ(small.max_batch, 4);
  EXPECT_EQ(small.curve.back().batch, 4);
  EXPECT_EQ(large.curve.back().batch, 64);
  for (std::size_t i = 0; i < small.curve.size(); ++i) EXPECT_EQ(small.curve[i].seconds, large.curve[i].seconds);
  // What only one of them holds goes on from the level they share, without a jump.
  EXPECT_NEAR(large.curve.back().seconds, std::sqrt(1.03) * (kOverhead + 64 * kPerSample), 1e-9);
  EXPECT_EQ(small.memory_bytes, 1 << 20);
}

TEST(AlikeRanks, AreOfOneDeviceKindAndOneEmulatedSpeed) {
  Profile profile = profile_of({1, 1.01, 1.02, 1.01});
  profile.ranks[1].device = "cuda:0";
  profile.ranks[2].device = "cuda:1";
  profile.ranks[3].speed = 0.5;
  EXPECT_THAT(groups_of(pool_alike_ranks(profile)), ElementsAre(ElementsAre(1, 2)));
}

TEST(AlikeRanks, HaveAlikeCores) {
  Profile profile = profile_of({1, 1.01, 1.02});
  profile.ranks[1].cores = 4;
  EXPECT_THAT(groups_of(pool_alike_ranks(profile)), ElementsAre(ElementsAre(0, 2)));
  for (RankProfile& rank : profile.ranks) rank.device = "cuda:0";
  EXPECT_THAT(groups_of(pool_alike_ranks(profile)), ElementsAre(ElementsAre(0, 1, 2)));
}

TEST(AlikeRanks, HaveCurvesOfAlikeShape) {
  // As fast as each other in the middle; one is quick to begin and slow for each sample.
  const Profile profile = make_profile({test::linear_rank(64, 0.08, 0.01), test::linear_rank(64, 0.0, 0.02)});
  EXPECT_THAT(pool_alike_ranks(profile).alike, IsEmpty());
}

TEST(AlikeRanks, AreNotRanksThatHoldNothing) {
  const Profile profile = make_profile({make_rank(0, {}), make_rank(0, {}), rank_of(1)});
  EXPECT_EQ(to_json(pool_alike_ranks(profile).profile), to_json(profile));
}

TEST(AlikeRanks, WithTheVerySameFiguresStayAsTheyAre) {
  const Profile profile = profile_of({1, 1, 2, 2, 2});
  const PooledProfile pooled = pool_alike_ranks(profile);
  EXPECT_THAT(pooled.alike, IsEmpty());
  EXPECT_EQ(to_json(pooled.profile), to_json(profile));
}

TEST(AlikeRanks, MeasuredWithNoiseOnEachPointAreFoundAmongOthers) {
  std::mt19937_64 random(5);
  std::normal_distribution<double> noise(0, 0.03);
  int found = 0;
  for (int round = 0; round < 50; ++round) {
    Profile profile = make_profile({rank_of(1, 32), rank_of(1, 32), rank_of(1.5, 32), rank_of(0.4, 64)});
    for (RankProfile& rank : profile.ranks)
      for (CurvePoint& point : rank.curve) point.seconds *= std::exp(noise(random));
    const auto groups = groups_of(pool_alike_ranks(profile));
    ASSERT_LE(groups.size(), 1U);
    if (groups.empty()) continue;
    EXPECT_THAT(groups[0], ElementsAre(0, 1));
    ++found;
  }
  EXPECT_GT(found, 40);
}

TEST(AlikeRanks, AreNotMovedByARunThatFindsThemAsFarApartAsTheyMeasured) {
  const Profile profile = profile_of({1, 1.035, 2});
  const Profile pooled = pool_alike_ranks(profile).profile;
  const Plan plan = solve(pooled, {.total = 100}).plan;
  const auto decided = [&](const std::vector<double>& slowness) {
    const Prediction real = predict(slowed(profile, slowness), batches_of(plan), 0).value();
    Rebalancer rebalancer(plan, pooled, {.window_seconds = 0});
    for (std::int64_t step = 1; step <= 6; ++step) {
      StepObservation seen{step, real.step_seconds, real.compute_seconds, {}};
      for (const double compute : real.compute_seconds) seen.wait_seconds.push_back(real.step_seconds - compute);
      rebalancer.observe(seen);
    }
    return rebalancer.decide();
  };
  EXPECT_FALSE(decided({1, 1, 1}));
  // What a run shows of one of them still counts for that one alone.
  const auto change = decided({1, 2, 1});
  ASSERT_TRUE(change);
  EXPECT_LT(change->batches[1], change->batches[0]);
  EXPECT_NEAR(change->slowness[1] / change->slowness[0], 2 * 1.035, 0.02);
}

TEST(AlikeRanks, OfTenThousandArePooledAndSolvedInSeconds) {
  std::mt19937_64 random(3);
  std::uniform_real_distribution<double> slower(0.5, 4);
  std::vector<double> ranks;
  for (int i = 0; i < 10'000; ++i) ranks.push_back(i % 2 == 0 ? slower(random) : 1 + 0.01 * slower(random));
  const Profile profile = profile_of(ranks);
  const double begun = now_seconds();
  const PooledProfile pooled = pool_alike_ranks(profile);
  EXPECT_EQ(solve(pooled.profile, {320'000, 0}).plan.total, 320'000);
  EXPECT_LT(now_seconds() - begun, 60);  // a second on a machine with nothing else to do
  EXPECT_GT(pooled.alike.size(), 40U);
  for (const AlikeRanks& alike : pooled.alike) EXPECT_LE(alike.apart, kAlike + 1e-9);
}

TEST(AlikeRanks, AreNamedInALineForEachGroup) {
  EXPECT_THAT(describe({{{0, 1}, 0.018}, {{2, 5, 7}, 0.0004}}),
              ElementsAre("Ranks 0 and 1 measured alike (1.8 % apart): planned as equal.",
                          "Ranks 2, 5 and 7 measured alike (0.0 % apart): planned as equal."));
  AlikeRanks many;
  for (std::size_t rank = 0; rank < 20; ++rank) many.ranks.push_back(rank);
  EXPECT_THAT(describe({many}), ElementsAre(HasSubstr("Ranks 0, 1, 2, 3, 4, 5, 6, 7 and 12 more measured")));
  EXPECT_THAT(describe(std::vector<AlikeRanks>(11, many)).back(), HasSubstr("3 more groups"));
  EXPECT_THAT(describe(std::vector<AlikeRanks>{}), IsEmpty());
}

}  // namespace
}  // namespace lshdp::plan
