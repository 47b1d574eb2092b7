// Whole runs in fp16 on ranks: steps that overflow are skipped and told of, and a resumed run is the uninterrupted one.
#include <cmath>
#include <sstream>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/model/weights.h"
#include "run_fixture.h"

namespace lshdp::train {
namespace {

constexpr std::int64_t kSteps = 24;

class HalfRun : public test::RunFixture {
 protected:
  /// Uneven batches; the scale is far too large at first, and grows too soon.
  TrainOptions options(const std::string& name, plan::Mode mode) const {
    TrainOptions options;
    options.setup.strategy.mode = mode;
    options.setup.strategy.precision = plan::Precision::fp16;
    options.loss_scaling = {.initial = 0x1p26, .growth_interval = 4};
    options.data = data();
    std::vector<std::int64_t> batches(static_cast<std::size_t>(ranks()), 2);
    batches.back() = kTotal - 2 * (ranks() - 1);
    options.plan = plan::plan_from_batches(batches);
    options.steps = kSteps;
    options.results = folder_ / name;
    return options;
  }
};

TEST_F(HalfRun, SkipsStepsThatOverflowAndTellsOfThem) {
  const test::Trained trained = run(options("run", plan::Mode::ddp));
  ASSERT_EQ(trained.steps.size(), static_cast<std::size_t>(kSteps));
  std::int64_t skipped = 0, good = 0;
  double scale = 0x1p26;
  for (const Json& step : trained.steps) {
    ASSERT_EQ(step["loss_scale"], scale) << step;
    EXPECT_TRUE(step["loss"].is_number());
    if (step["skipped"]) {
      EXPECT_TRUE(step["gradient_norm"].is_null());
      ++skipped;
      good = 0;
      scale /= 2;
    } else {
      EXPECT_GT(step["gradient_norm"], 0);
      if (++good % 4 == 0) scale *= 2;
    }
  }
  EXPECT_TRUE(trained.steps.front()["skipped"]);
  EXPECT_GT(skipped, 3);
  EXPECT_LT(skipped, kSteps / 2);
  EXPECT_EQ(trained.summary["skipped_steps"], skipped);
  EXPECT_EQ(trained.summary["precision"], "fp16");
  // Nothing was learnt before the first good step.
  EXPECT_NEAR(trained.steps.front()["loss"].get<double>(), std::log(5.0), 1e-3);
  EXPECT_LT(trained.steps.back()["loss"].get<double>(), trained.steps.front()["loss"].get<double>());
}

TEST_F(HalfRun, GoesOnAsIfItHadNeverStopped) {
  for (const plan::Mode mode : {plan::Mode::ddp, plan::Mode::fsdp, plan::Mode::lsdp}) {
    // The last bit of a sum of three ranks on one node depends on who comes first.
    if (mode == plan::Mode::lsdp && ranks() > 2) continue;
    const std::string name = plan::to_text(mode);
    TrainOptions through = options(name + "-through", mode);
    through.save = folder_ / (name + "-through.safetensors");
    const test::Trained expected = run(through);
    TrainOptions parts = options(name + "-parts", mode);
    parts.checkpoint_every = 1;
    for (const std::int64_t end : {7, 18, 24}) {  // among skipped steps, and between two growths
      parts.steps = end;
      if (end == kSteps) parts.save = folder_ / (name + "-parts.safetensors");
      run(parts);
      parts.resume = parts.results;
    }
    communicator_->barrier();
    EXPECT_EQ(read_file(through.save), read_file(parts.save)) << name;
    std::istringstream lines(read_file(parts.results / "metrics.jsonl"));
    std::size_t step = 0;
    for (std::string line; std::getline(lines, line);) {
      const Json record = Json::parse(line);
      if (record["record"] != "step") continue;
      ASSERT_LT(step, expected.steps.size());
      for (const char* key : {"step", "loss", "gradient_norm", "loss_scale", "skipped"})
        EXPECT_EQ(record[key], expected.steps[step][key]) << name << ": " << key << " of step " << step + 1;
      ++step;
    }
    EXPECT_EQ(step, expected.steps.size());
  }
}

TEST_F(HalfRun, EndsWhereNoScaleHelps) {
  // Logits are moderate, but what the first layer's gradients are made of is beyond fp16.
  const model::Model model = model::make_model_from_json(
      {{"type", "mlp"}, {"input_size", 64}, {"hidden_sizes", {4}}, {"output_size", 5}}, "steep");
  model::Values values = model::initial_values(model, 1);
  values[0][0].zero_();
  values[0][1].fill_(1e-5);
  values[1][0].fill_(60'000);
  for (int row = 0; row < 5; row += 2) values[1][0][row].neg_();
  values[1][1].zero_();
  if (session_.rank() == 0) model::write_weights(model, values, folder_ / "steep.safetensors");
  communicator_->barrier();
  TrainOptions given = options("steep", plan::Mode::ddp);
  std::vector<std::int64_t> batches(static_cast<std::size_t>(ranks()), 0);
  batches.back() = 1;
  given.plan = plan::plan_from_batches(batches);
  given.init = folder_ / "steep.safetensors";
  given.schedule.learning_rate = 0;
  given.steps = 200;
  given.loss_scaling.initial = 4;
  try {
    train(*communicator_, model, given);
    FAIL() << "went on";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.exit_code(), 1);
    EXPECT_THAT(error.what(), testing::HasSubstr("gradients overflow in fp16 at step"));
    EXPECT_THAT(error.what(), testing::HasSubstr("with a loss scale of 1; try --precision fp32"));
  }
}

}  // namespace
}  // namespace lshdp::train
