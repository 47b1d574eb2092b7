// Runs of a pipeline whose cuts move: nothing else changes, whether cuts are given or follow a rank that slows down.
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/plan/layout_planner.h"
#include "lshdp/plan/rebalance.h"
#include "plan/layouts.h"
#include "run_fixture.h"

namespace lshdp::train {
namespace {

using plan::Layout;
using plan::Precision;
using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr double kSampleSeconds = 0.1;  // pretended, of a whole model

class MovingRun : public test::RunFixture {
 protected:
  std::size_t blocks() const { return test::small_vit().blocks.size(); }

  /// Even cuts, or as early or late as can be.
  enum class Cut { even, early, late };
  Layout layout(Cut cut) const {
    const auto stages = static_cast<std::size_t>(ranks());
    plan::Replica replica{.batch = kTotal, .micro_batches = {6, 6, 6, 6}};
    for (std::size_t stage = 0; stage < stages; ++stage) {
      const std::size_t end = stage + 1;
      const std::size_t ends[] = {end * blocks() / stages, end == stages ? blocks() : end, blocks() - stages + end};
      replica.stages.push_back({.rank = static_cast<std::int64_t>(stage),
                                .start = stage == 0 ? 0 : replica.stages.back().end,
                                .end = ends[static_cast<std::size_t>(cut)]});
    }
    return {.blocks = blocks(), .replicas = {replica}};
  }

  TrainOptions options(const char* name, Precision precision, std::int64_t steps) const {
    TrainOptions options;
    options.setup.strategy.precision = precision;
    options.data = data();
    options.layout = layout(Cut::even);
    options.plan = plan::plan_of(*options.layout, static_cast<std::size_t>(ranks()));
    options.steps = steps;
    options.eval_data = data();
    options.eval_every = 7;
    options.results = folder_ / name;
    return options;
  }

  /// The same with cuts that move after steps 5, 9 and 14.
  TrainOptions moving(TrainOptions options) const {
    options.next_layout = [this](std::int64_t done) -> std::optional<Layout> {
      if (done == 5) return layout(Cut::early);
      if (done == 9) return layout(Cut::late);
      return done == 14 ? std::optional(layout(Cut::even)) : std::nullopt;
    };
    return options;
  }

  std::string weights(const char* name) const { return read_file(folder_ / name / "model.safetensors"); }

  void expect_same_losses(const test::Trained& moved, const test::Trained& still, double tolerance) const {
    ASSERT_EQ(moved.steps.size(), still.steps.size());
    for (std::size_t i = 0; i < still.steps.size(); ++i) {
      const double loss = still.steps[i]["loss"];
      EXPECT_NEAR(moved.steps[i]["loss"].get<double>(), loss, tolerance * loss) << "step " << i + 1;
      EXPECT_NEAR(moved.steps[i]["gradient_norm"].get<double>(), still.steps[i]["gradient_norm"].get<double>(), 1e-5);
      EXPECT_EQ(moved.steps[i]["samples"], still.steps[i]["samples"]);
    }
  }
};

TEST_F(MovingRun, HasTheBitsOfAnUndisturbedOneWithSavesUnderWay) {
  for (const Precision precision : {Precision::fp32, Precision::fp64, Precision::bf16}) {
    TrainOptions given = moving(options("moved", precision, 20));
    given.checkpoint_every = 4;
    given.overwrite = true;
    TrainOptions rest = options("still", precision, 20);
    rest.overwrite = true;
    const test::Trained moved = run(given), still = run(rest);
    expect_same_losses(moved, still, 0);
    EXPECT_EQ(moved.summary["evaluation"]["loss"], still.summary["evaluation"]["loss"]);
    EXPECT_EQ(weights("moved"), weights("still"));
    ASSERT_THAT(moved.summary["rebalances"], SizeIs(3));
    EXPECT_EQ(moved.summary["rebalances"][1]["step"], 10);
    EXPECT_EQ(moved.summary["rebalances"][1]["cuts_before"], moved.summary["rebalances"][0]["cuts"]);
    EXPECT_GT(moved.summary["rebalances"][0]["moved_bytes"], 0);
    EXPECT_EQ(plan::read_layout(folder_ / "moved/layout.json").replicas, layout(Cut::even).replicas);
    communicator_->barrier();
  }
}

TEST_F(MovingRun, IsClippedByTheSameNormToRounding) {
  TrainOptions given = options("still", Precision::fp64, 20);
  given.clip_norm = 0.1;
  TrainOptions moved = moving(given);
  moved.results = folder_ / "moved";
  expect_same_losses(run(moved), run(given), 1e-12);
}

TEST_F(MovingRun, ResumesFromACheckpointThatFollowsAMove) {
  TrainOptions given = moving(options("moved", Precision::fp32, 12));
  given.checkpoint_every = 12;
  run(given);
  given.next_layout = nullptr;
  given.resume = given.results;
  given.steps = 20;
  given.checkpoint_every = 0;
  run(given);
  run(options("still", Precision::fp32, 20));
  EXPECT_EQ(weights("moved"), weights("still"));
}

TEST_F(MovingRun, FollowsARankThatSlowsDownAndRecovers) {
  const plan::Profile profile = plan::test::cluster_of(
      std::vector<double>(static_cast<std::size_t>(ranks()), 1 / kSampleSeconds), {.blocks = blocks()}, 1e9);
  TrainOptions given = options("followed", Precision::fp32, 75);
  given.rebalance_every = 5;
  given.rebalance.window_seconds = 0;
  given.profile = profile;
  given.profile->model = test::small_vit().name;
  given.pretended_compute_seconds = [this](std::int64_t step, std::int64_t, std::int64_t held) {
    const double slowness = rank() == 0 && step >= 18 && step < 46 ? 3 : 1;
    return slowness * kSampleSeconds * kTotal * static_cast<double>(held) / static_cast<double>(blocks());
  };
  const test::Trained followed = run(given), still = run(options("still", Precision::fp32, 75));
  expect_same_losses(followed, still, 0);
  std::vector<Json> slow, recovered;
  for (const Json& change : followed.summary["rebalances"]) {
    if (change["slowness"][0] > 2)
      slow.push_back(change);
    else if (!slow.empty())
      recovered.push_back(change);
  }
  ASSERT_FALSE(slow.empty());
  EXPECT_GE(slow[0]["step"], 20);
  EXPECT_LE(slow[0]["step"], 40);
  EXPECT_LT(slow[0]["cuts"][0], slow[0]["cuts_before"][0]);
  if (ranks() == 4) return;  // of two blocks each, what it gave away is worth less than is asked of a move
  ASSERT_FALSE(recovered.empty());
  EXPECT_GT(recovered[0]["cuts"][0], slow[0]["cuts"][0]);
}

}  // namespace
}  // namespace lshdp::train
