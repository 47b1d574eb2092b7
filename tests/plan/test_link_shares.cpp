// Shards for unequal links: the closed form against brute force, and what the plan makes of it.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/plan/describe.h"
#include "lshdp/plan/link_shares.h"
#include "lshdp/plan/other_ranks.h"
#include "lshdp/plan/rebalance.h"
#include "lshdp/plan/solver.h"
#include "lshdp/plan/under_load.h"
#include "plan/profiles.h"

namespace lshdp::plan {
namespace {

using test::linear_rank;
using ::testing::DoubleNear;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Rates = std::vector<double>;

/// The longest time that a link is busy in a step, V = 1, sent bytes counted one by one.
double busiest(const Rates& rates, const std::vector<double>& shares) {
  double longest = 0;
  for (std::size_t r = 0; r < rates.size(); ++r) {
    double sent = 0;
    for (std::size_t other = 0; other < rates.size(); ++other) {
      if (other != r) sent += shares[other] + shares[r];  // reduce-scatter: its part; all-gather: mine
    }
    longest = std::max(longest, sent / rates[r]);
  }
  return longest;
}

/// The least time over all shares in steps of 1 / `parts`.
double best_of_grid(const Rates& rates, int parts) {
  double best = std::numeric_limits<double>::infinity();
  std::vector<double> shares(rates.size());
  const std::function<void(std::size_t, int)> fill = [&](std::size_t rank, int left) {
    if (rank + 1 == rates.size()) {
      shares[rank] = static_cast<double>(left) / parts;
      best = std::min(best, busiest(rates, shares));
      return;
    }
    for (int own = 0; own <= left; ++own) {
      shares[rank] = static_cast<double>(own) / parts;
      fill(rank + 1, left - own);
    }
  };
  fill(0, parts);
  return best;
}

/// Four ranks of `seconds` a sample whose links have these rates (bytes a second); 10 MB of gradients.
Profile with_links(const Rates& rates, double seconds = 1e-3) {
  std::vector<RankProfile> ranks;
  for (const double rate : rates) {
    ranks.push_back(linear_rank(64, 0, seconds));
    ranks.back().link_bytes_per_second = rate;
  }
  return test::with_network(test::make_profile(std::move(ranks)), std::ranges::min(rates), 10'000'000);
}

const Rates kOneSlow{1e8, 1e8, 1e7, 1e8};

TEST(LinkShares, AreNoSlowerThanAnyOthers) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> exponent(-1.2, 0);
  for (int round = 0; round < 60; ++round) {
    const std::size_t ranks = round % 2 == 0 ? 3 : 4;
    const int parts = ranks == 3 ? 300 : 60;
    Rates rates;
    for (std::size_t r = 0; r < ranks; ++r) rates.push_back(std::pow(10.0, exponent(random)));
    const std::vector<double> shares = link_shares(rates);
    EXPECT_NEAR(std::accumulate(shares.begin(), shares.end(), 0.0), 1, 1e-12);
    EXPECT_GE(std::ranges::min(shares), 0);
    const double time = busiest(rates, shares), grid = best_of_grid(rates, parts);
    EXPECT_NEAR(link_seconds(rates, shares), time, 1e-9 * time);
    EXPECT_LE(time, grid * (1 + 1e-9));
    // The grid comes as near as its steps allow.
    EXPECT_GE(time, grid - 2.0 / parts / std::ranges::min(rates));
  }
}

TEST(LinkShares, OfEqualLinksAreEqual) {
  EXPECT_THAT(link_shares(Rates{3, 3, 3, 3}), Each(DoubleNear(0.25, 1e-12)));
  EXPECT_NEAR(link_seconds(Rates{1, 1, 1, 1}, link_shares(Rates{1, 1, 1, 1})), 2.0 * 3 / 4, 1e-12);
  EXPECT_THAT(link_shares(Rates{1, 5}), ElementsAre(0.5, 0.5));
  EXPECT_THAT(link_shares(Rates{1}), ElementsAre(1));
}

TEST(LinkShares, ASlowLinkSendsTheVectorOnceAndOwnsNothing) {
  const Rates rates{1, 1, 0.1, 1};
  const std::vector<double> shares = link_shares(rates);
  EXPECT_EQ(shares[2], 0);
  EXPECT_THAT(shares,
              ElementsAre(DoubleNear(1.0 / 3, 1e-12), DoubleNear(1.0 / 3, 1e-12), 0, DoubleNear(1.0 / 3, 1e-12)));
  EXPECT_NEAR(link_seconds(rates, shares), 10, 1e-12);
  EXPECT_THAT(weights_of(shares), ElementsAre(1333, 1333, 0, 1333));
}

TEST(LinkShares, AFastLinkCarriesMore) {
  // T (2.5 + 1 + 1 + 1) = 2 + 4
  const std::vector<double> shares = link_shares(Rates{2.5, 1, 1, 1});
  EXPECT_NEAR(shares[0], (6 / 5.5 * 2.5 - 1) / 2, 1e-12);
  EXPECT_NEAR(shares[1], (6 / 5.5 - 1) / 2, 1e-12);
}

TEST(RelativeLinks, AreNotTakenForUnequalByNoise) {
  EXPECT_THAT(relative_links(Rates{1e8, 0.55e8, 0.95e8, 0.81e8}), IsEmpty());
  EXPECT_THAT(relative_links(Rates{1e8, 0, 1e7}), IsEmpty());
  EXPECT_THAT(relative_links(Rates{}), IsEmpty());
  const Rates links = relative_links(Rates{0.9e8, 1e7, 1e8, 1.1e7});
  EXPECT_THAT(links, ElementsAre(DoubleNear(0.95, 1e-9), DoubleNear(0.105, 1e-9), DoubleNear(0.95, 1e-9),
                                 DoubleNear(0.105, 1e-9)));
}

TEST(LinksInAPlan, OneSlowLinkIsBusyForOneVectorOnly) {
  const Profile profile = with_links(kOneSlow);
  const Solution solution = solve(profile, {.total = 40});
  EXPECT_THAT(solution.plan.shard_weights, ElementsAre(1333, 1333, 0, 1333));
  EXPECT_NEAR(solution.plan.predicted.communication_seconds, 1.0, 1e-9);
  ASSERT_TRUE(solution.equal_shards.has_value());
  EXPECT_NEAR(solution.equal_shards->communication_seconds, 1.5, 1e-9);
  ASSERT_TRUE(solution.equal_split.has_value());  // as it is trained: --batches equal has equal shards
  EXPECT_NEAR(solution.equal_split->communication_seconds, 1.5, 1e-9);
  EXPECT_EQ(solution.plan.equal_split_step_seconds, solution.equal_split->step_seconds);
  EXPECT_EQ(solution.bound_by, "network");
  EXPECT_EQ(plan_for(profile, {10, 10, 10, 10}, 0).shard_weights, solution.plan.shard_weights);
}

TEST(LinksInAPlan, ThatAreAlikeChangeNothing) {
  const Profile alike = with_links({1e8, 0.9e8, 0.95e8, 1e8}, 1e-3);
  const Solution solution = solve(alike, {.total = 40});
  EXPECT_EQ(to_json(solution.plan), to_json(solve(alike, {.total = 40, .shards = ShardWeights()}).plan));
  EXPECT_FALSE(solution.equal_shards.has_value());
  EXPECT_THAT(describe(alike, solution), Not(HasSubstr("Links")));
}

TEST(LinksInAPlan, UpdatesTransfersAndTheBoundaryFollowTheShares) {
  Profile profile = with_links(kOneSlow);
  profile.exposed_bytes = 1'000'000;
  profile.network.cpu_seconds_per_byte = 1e-8;
  for (RankProfile& rank : profile.ranks) rank.update_seconds = 0.03;
  const Prediction predicted = *predict(profile, {10, 10, 10, 10}, 0);
  EXPECT_THAT(predicted.compute_seconds, ElementsAre(DoubleNear(0.05, 1e-9), DoubleNear(0.05, 1e-9),
                                                     DoubleNear(0.01, 1e-9), DoubleNear(0.05, 1e-9)));
  // 1 MB through the slow link, once up and once down.
  EXPECT_NEAR(predicted.step_seconds, 1.0 + 0.2, 1e-9);
  // The engine of a rank that owns a third moves V (1 + 2/3) each way.
  profile.network.cpu_seconds_per_byte = 1e-7;
  EXPECT_NEAR(predict(profile, {10, 10, 10, 10}, 0)->step_seconds, 0.05 + 1e-7 * 2e7 * (1 + 2.0 / 3) + 0.2, 1e-9);
}

TEST(LinksInAPlan, DoNotMatterWhereTheyMakeNoStepShorter) {
  const Profile profile = with_links(kOneSlow, 0.2);  // two seconds of computing hide both
  const Solution solution = solve(profile, {.total = 40});
  EXPECT_THAT(solution.plan.shard_weights, IsEmpty());
  EXPECT_FALSE(solution.equal_shards.has_value());
  EXPECT_THAT(describe(profile, solution), HasSubstr("Shards are equal"));
  EXPECT_THAT(plan_for(profile, {10, 10, 10, 10}, 0).shard_weights, IsEmpty());
}

TEST(LinksInAPlan, AreOfModeDdpOnly) {
  for (const Mode mode : {Mode::fsdp, Mode::lsdp}) {
    Profile profile = with_links(kOneSlow);
    profile.strategy.mode = mode;
    EXPECT_THAT(solve(profile, {.total = 40}).plan.shard_weights, IsEmpty());
    EXPECT_NEAR(solve(profile, {.total = 40}).plan.predicted.communication_seconds, 1.5, 1e-9);
  }
}

TEST(LinksInAPlan, AreToldWithWhatUnequalShardsGain) {
  const Profile profile = with_links(kOneSlow);
  const std::string text = describe(profile, solve(profile, {.total = 40}));
  EXPECT_THAT(text, HasSubstr("own %"));
  EXPECT_THAT(text, HasSubstr("33.3"));
  EXPECT_THAT(text, HasSubstr("Links differ: 9.54 MiB/s on rank 2 (node); up to 95.4 MiB/s elsewhere."));
  EXPECT_THAT(text, HasSubstr("With equal shards the step would take 1.5 s, 1.50 times as long."));
}

TEST(LinksInAPlan, ARebalancedRunKeepsItsShards) {
  const Profile profile = with_links(kOneSlow, 0.02);
  const Plan plan = solve(profile, {.total = 160}).plan;
  ASSERT_FALSE(plan.shard_weights.empty());
  Rebalancer rebalancer(plan, profile, {.window_seconds = 0});
  for (int step = 1; step <= 6; ++step) rebalancer.observe({step, 3.2, {3.2, 0.8, 0.8, 0.8}, {0, 2.4, 2.4, 2.4}});
  const auto change = rebalancer.decide();
  ASSERT_TRUE(change.has_value());
  rebalancer.apply(*change, 7);
  EXPECT_LT(rebalancer.plan().ranks[0].batch, plan.ranks[0].batch);
  EXPECT_EQ(rebalancer.plan().shard_weights, plan.shard_weights);
}

TEST(LinksInAPlan, ARunWithEqualShardsIsCorrectedAndRebalancedAsSuch) {
  const Profile profile = with_links(kOneSlow, 0.04);
  Plan equal = plan_from_batches({10, 10, 10, 10});
  const Profile after = under_load(profile, equal, {.step_seconds = 1.5, .compute_seconds = std::vector(4, 0.4)});
  EXPECT_NEAR(after.ranks[0].contention_factor, 1, 1e-12);
  EXPECT_EQ(after.ranks[2].link_bytes_per_second, 1e7);
  Rebalancer rebalancer(equal, profile, {.window_seconds = 0});
  for (int step = 1; step <= 6; ++step) rebalancer.observe({step, 4, {4, 0.4, 0.4, 0.4}, {0, 3.6, 3.6, 3.6}});
  const auto change = rebalancer.decide();
  ASSERT_TRUE(change.has_value());
  rebalancer.apply(*change, 7);
  EXPECT_THAT(rebalancer.plan().shard_weights, IsEmpty());
  EXPECT_NEAR(rebalancer.plan().predicted.communication_seconds, 1.5, 1e-9);
}

TEST(LinksInAPlan, LeavingOutTheSlowOneMakesTheNetworkAsFastAsTheRest) {
  const Profile three = on_other_ranks(with_links(kOneSlow), {0, 1, 3});
  EXPECT_NEAR(three.network.bytes_per_second, 1e8, 1e-3);
  EXPECT_NEAR(on_other_ranks(with_links(kOneSlow), {0, 2}).network.bytes_per_second, 1e7, 1e-3);
}

}  // namespace
}  // namespace lshdp::plan
