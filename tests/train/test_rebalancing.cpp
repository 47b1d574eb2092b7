// Rebalancing on ranks: a rank that slows down and recovers in mid-run changes the split and nothing else.
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/plan/rebalance.h"
#include "lshdp/plan/solver.h"
#include "plan/profiles.h"
#include "run_fixture.h"

namespace lshdp::train {
namespace {

using plan::Precision;

constexpr std::int64_t kSteps = 75;
constexpr double kSampleSeconds = 0.1;  // pretended, far above what a step really takes

class RebalancedRun : public test::RunFixture {
 protected:
  plan::Profile profile() const {
    std::vector<plan::RankProfile> all;
    for (int r = 0; r < ranks(); ++r) all.push_back(plan::test::linear_rank(16, 0, kSampleSeconds));
    return plan::test::make_profile(std::move(all));
  }

  /// Rank 0 takes twice as long from step 18 to step 45.
  TrainOptions options(const char* name, Precision precision) const {
    TrainOptions options;
    options.setup.strategy.precision = precision;
    options.data = data();
    options.plan = plan::solve(profile(), {.total = kTotal}).plan;
    options.steps = kSteps;
    options.rebalance.window_seconds = 0;  // steps are far shorter than they say
    options.adamw.epsilon = 1e-6;          // see test_same_mathematics
    options.results = folder_ / name;
    options.pretended_compute_seconds = [this](std::int64_t step, std::int64_t samples, std::int64_t) {
      const double slowness = rank() == 0 && step >= 18 && step < 46 ? 2 : 1;
      return slowness * kSampleSeconds * static_cast<double>(samples);
    };
    return options;
  }

  void expect_same_losses(Precision precision, double tolerance) const {
    TrainOptions rebalanced = options("rebalanced", precision);
    rebalanced.rebalance_every = 5;
    rebalanced.profile = profile();
    const test::Trained fixed = run(options("fixed", precision)), changed = run(rebalanced);
    EXPECT_EQ(changed.summary["rebalances"].size(), ranks() > 1 ? 2U : 0U);
    ASSERT_EQ(fixed.steps.size(), static_cast<std::size_t>(kSteps));
    ASSERT_EQ(changed.steps.size(), static_cast<std::size_t>(kSteps));
    for (std::size_t i = 0; i < fixed.steps.size(); ++i) {
      const double loss = fixed.steps[i]["loss"];
      EXPECT_NEAR(changed.steps[i]["loss"].get<double>(), loss, tolerance * loss) << "step " << i + 1;
      EXPECT_EQ(changed.steps[i]["samples"], fixed.steps[i]["samples"]);
    }
  }
};

TEST_F(RebalancedRun, HasTheLossesOfTheFixedSplitInDoublePrecision) { expect_same_losses(Precision::fp64, 1e-9); }

TEST_F(RebalancedRun, HasTheLossesOfTheFixedSplitToRoundingInSinglePrecision) {
  expect_same_losses(Precision::fp32, 1e-5);
}

TEST_F(RebalancedRun, FollowsTheSlowRankWithinTwentyStepsAndGoesBack) {
  TrainOptions given = options("run", Precision::fp32);
  given.rebalance_every = 10;
  given.profile = profile();
  const test::Trained trained = run(given);
  if (ranks() == 1) return;
  const auto before = trained.steps.front()["batches"].get<std::vector<std::int64_t>>();
  std::vector<double> slow(static_cast<std::size_t>(ranks()), 1.0);
  slow[0] = 2;
  const plan::Plan fresh = plan::solve(plan::slowed(profile(), slow), {.total = kTotal}).plan;
  for (const Json& step : trained.steps) {
    const auto batches = step["batches"].get<std::vector<std::int64_t>>();
    const auto number = step["step"].get<std::int64_t>();
    EXPECT_EQ(std::accumulate(batches.begin(), batches.end(), std::int64_t{0}), kTotal);
    if (number < 18 || number >= 66) {
      EXPECT_EQ(batches, before) << number;
    }
    if (number >= 38 && number < 46) {
      EXPECT_EQ(batches[0], fresh.ranks[0].batch) << number;
    }
  }
}

TEST_F(RebalancedRun, FindsTheSplitOfABatchesGivenByHandWithoutAProfile) {
  TrainOptions given = options("learnt", Precision::fp32);
  std::vector<std::int64_t> batches(static_cast<std::size_t>(ranks()), 2);
  batches.back() = kTotal - 2 * (ranks() - 1);
  given.plan = plan::plan_from_batches(batches);
  given.rebalance_every = 10;
  given.pretended_compute_seconds = [](std::int64_t, std::int64_t samples, std::int64_t) {
    return kSampleSeconds * static_cast<double>(samples);
  };
  const test::Trained trained = run(given);
  EXPECT_EQ(trained.summary["rebalances"].size(), ranks() > 1 ? 1U : 0U);
  for (const auto& batch : trained.steps.back()["batches"]) EXPECT_EQ(batch, kTotal / ranks());
}

TEST_F(RebalancedRun, EvaluatesAndResumesWithTheSplitItHas) {
  TrainOptions given = options("resumed", Precision::fp64);
  given.rebalance_every = 5;
  given.profile = profile();
  given.eval_data = data();
  given.eval_every = 7;
  given.checkpoint_every = 40;
  given.steps = 40;
  run(given);
  given.resume = given.results;
  given.steps = kSteps;
  given.checkpoint_every = 0;
  const test::Trained resumed = run(given), fixed = run(options("through", Precision::fp64));
  ASSERT_EQ(resumed.steps.size(), static_cast<std::size_t>(kSteps));
  EXPECT_NEAR(resumed.steps.back()["loss"].get<double>(), fixed.steps.back()["loss"].get<double>(), 1e-9);
}

}  // namespace
}  // namespace lshdp::train
