// Rebalancing on ranks: a rank that slows down and recovers in mid-run changes the split and nothing else.
#include <numeric>
#include <sstream>

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/comm/agree.h"
#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/data/converters.h"
#include "lshdp/plan/rebalance.h"
#include "lshdp/plan/solver.h"
#include "lshdp/train/trainer.h"
#include "parallel/models.h"
#include "plan/profiles.h"
#include "support/temporary_directory.h"

namespace lshdp::train {
namespace {

using parallel::Precision;

constexpr std::int64_t kTotal = 24, kSteps = 75;  // 100 samples: every fifth step is a partial one
constexpr double kSampleSeconds = 0.1;            // pretended, far above what a step really takes

struct Trained {
  std::vector<Json> steps;
  Json summary;
};

class RebalancedRun : public testing::Test {
 protected:
  RebalancedRun() {
    at::set_num_threads(1);
    folder_ = comm::broadcast_text(*communicator_, own_folder_.path().string());
    if (rank() == 0)
      data::make_synthetic_images({.count = 100, .channels = 1, .size = 8, .classes = 5}, {.path = data()});
    communicator_->barrier();
  }
  ~RebalancedRun() override { communicator_->barrier(); }

  int rank() const { return session_.rank(); }
  int ranks() const { return session_.size(); }
  std::filesystem::path data() const { return folder_ / "data.h5"; }

  plan::Profile profile() const {
    std::vector<plan::RankProfile> all;
    for (int r = 0; r < ranks(); ++r) all.push_back(plan::test::linear_rank(16, 0, kSampleSeconds));
    return plan::test::make_profile(std::move(all));
  }

  /// Rank 0 takes twice as long from step 18 to step 45.
  TrainOptions options(const char* name, Precision precision) const {
    TrainOptions options;
    options.setup.precision = precision;
    options.data = data();
    options.plan = plan::solve(profile(), {.total = kTotal}).plan;
    options.steps = kSteps;
    options.rebalance.window_seconds = 0;  // steps are far shorter than they say
    options.adamw.epsilon = 1e-6;          // see test_same_mathematics
    options.results = folder_ / name;
    options.pretended_compute_seconds = [this](std::int64_t step, std::int64_t samples) {
      const double slowness = rank() == 0 && step >= 18 && step < 46 ? 2 : 1;
      return slowness * kSampleSeconds * static_cast<double>(samples);
    };
    return options;
  }

  Trained run(const TrainOptions& options) const {
    Trained trained;
    trained.summary = train(*communicator_, test::small_vit(), options);
    std::istringstream lines(read_file(options.results / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const Json record = Json::parse(line);
      if (record["record"] == "step") trained.steps.push_back(record);
    }
    return trained;
  }

  void expect_same_losses(Precision precision, double tolerance) const {
    TrainOptions rebalanced = options("rebalanced", precision);
    rebalanced.rebalance_every = 5;
    rebalanced.profile = profile();
    const Trained fixed = run(options("fixed", precision)), changed = run(rebalanced);
    EXPECT_EQ(changed.summary["rebalances"].size(), ranks() > 1 ? 2U : 0U);
    ASSERT_EQ(fixed.steps.size(), static_cast<std::size_t>(kSteps));
    ASSERT_EQ(changed.steps.size(), static_cast<std::size_t>(kSteps));
    for (std::size_t i = 0; i < fixed.steps.size(); ++i) {
      const double loss = fixed.steps[i]["loss"];
      EXPECT_NEAR(changed.steps[i]["loss"].get<double>(), loss, tolerance * loss) << "step " << i + 1;
      EXPECT_EQ(changed.steps[i]["samples"], fixed.steps[i]["samples"]);
    }
  }

  comm::MpiSession session_{nullptr, nullptr};
  std::unique_ptr<comm::Communicator> communicator_ = comm::make_mpi_communicator(session_);
  const test::TemporaryDirectory own_folder_;
  std::filesystem::path folder_;  // rank 0's
};

TEST_F(RebalancedRun, HasTheLossesOfTheFixedSplitInDoublePrecision) { expect_same_losses(Precision::fp64, 1e-9); }

TEST_F(RebalancedRun, HasTheLossesOfTheFixedSplitToRoundingInSinglePrecision) {
  expect_same_losses(Precision::fp32, 1e-5);
}

TEST_F(RebalancedRun, FollowsTheSlowRankWithinTwentyStepsAndGoesBack) {
  TrainOptions given = options("run", Precision::fp32);
  given.rebalance_every = 10;
  given.profile = profile();
  const Trained trained = run(given);
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
  given.pretended_compute_seconds = [](std::int64_t, std::int64_t samples) {
    return kSampleSeconds * static_cast<double>(samples);
  };
  const Trained trained = run(given);
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
  const Trained resumed = run(given), fixed = run(options("through", Precision::fp64));
  ASSERT_EQ(resumed.steps.size(), static_cast<std::size_t>(kSteps));
  EXPECT_NEAR(resumed.steps.back()["loss"].get<double>(), fixed.steps.back()["loss"].get<double>(), 1e-9);
}

}  // namespace
}  // namespace lshdp::train
