// lshdp train in every mode as its users run it: the weights of one process, evaluation, files that switch modes,
// failures.
#include <filesystem>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "program.h"
#include "training_files.h"
#include "weights.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;

/// With a parameter: in that mode. Files are written by ddp where a test compares.
class TrainIn : public TrainingFixture<testing::TestWithParam<const char*>> {
 protected:
  static std::string mode() { return std::string(" --mode ") + GetParam() + " "; }
  /// Trains on `ranks` and expects success.
  CommandResult train(int ranks, const std::string& model, const std::string& arguments) const {
    CommandResult result = run_lshdp_on(ranks, "train --log warn " + files_->options(model) + " " + arguments);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result;
  }
};

/// Also in ddp, which the others are compared with.
class TrainInEvery : public TrainIn {};

TEST_P(TrainIn, GivesTheWeightsOfOneProcessForUnevenBatchesAndMicroBatches) {
  // Rank 0 runs three micro-batches, rank 1 none, rank 2 one; 100 samples in batches of 32: every fourth step is a
  // partial one.
  write_file(
      folder_ / "batches.json",
      R"({"version":1,"total":32,"ranks":[{"rank":0,"host":"a","batch":21,"micro_batches":[8,8,5]},)"
      R"({"rank":1,"host":"a","batch":0,"micro_batches":[]},{"rank":2,"host":"a","batch":11,"micro_batches":[11]}]})");
  for (const std::string model : {"vit", "gpt"}) {
    const std::string common = " --steps 9 --precision fp64 --clip 0.5 --seed 3 --eval-data " +
                               files_->path(model + ".h5") + " --eval-every 4 --save ";
    train(1, model, "--batches 32" + common + out("one.safetensors"));
    train(3, model, mode() + "--batches " + out("batches.json") + common + out("three.safetensors"));
    EXPECT_LT(worst_difference(out("three.safetensors"), out("one.safetensors")), 1e-9) << model;
  }
}

TEST_P(TrainIn, SwitchesBetweenModesWithCheckpointsAndWeights) {
  const std::string common = " --precision fp64 --seed 4 ";
  train(1, "vit", "--batches 16 --steps 12 --save " + out("through.safetensors") + common);
  const auto part = [&](int ranks, const std::string& arguments) {
    train(ranks, "vit", arguments + " --results " + out("run") + common);
  };
  part(3, "--batches 5,5,6 --steps 4 --checkpoint-every 4");
  part(2, mode() + "--batches 3,13 --steps 8 --checkpoint-every 4 --resume " + out("run"));
  part(1, "--batches 16 --steps 12 --resume " + out("run") + " --save " + out("resumed.safetensors"));
  EXPECT_LT(worst_difference(out("resumed.safetensors"), out("through.safetensors")), 1e-9);
  const std::string more = " --steps 3 --init " + out("through.safetensors") + common + "--save ";
  train(1, "vit", "--batches 16" + more + out("one.safetensors"));
  train(2, "vit", mode() + "--batches 1,15" + more + out("two.safetensors"));
  EXPECT_LT(worst_difference(out("two.safetensors"), out("one.safetensors")), 1e-9);
}

TEST_P(TrainIn, EvaluatesEverySampleOnceOnAnyNumberOfRanks) {
  train(1, "gpt", "--batches 10 --steps 3 --save " + out("w.safetensors"));
  const std::string command = "evaluate " + files_->options("gpt") +
                              " --micro-batch 9 --precision fp64 --log warn --init " + out("w.safetensors");
  const CommandResult one = run_lshdp_on(1, command), three = run_lshdp_on(3, command + mode());
  EXPECT_EQ(one.exit_code, 0) << one.output;
  EXPECT_EQ(three.exit_code, 0) << three.output;
  EXPECT_EQ(one.output, three.output);
}

TEST_P(TrainIn, MeasuresSolvesAndTrainsInOneLaunch) {
  train(
      2, "vit",
      mode() + "--batches auto --total 24 --steps 30 --memory 256MiB --emulate-speed 0.8,0.2 --results " + out("run"));
  const Json plan = read_json(folder_ / "run/batches.json"), profile = read_json(folder_ / "run/profile.json");
  EXPECT_EQ(plan["total"], 24);
  EXPECT_EQ(fmt::format("{}{}", plan["mode"].get<std::string>(), plan["offload"] ? " --offload" : ""), GetParam());
  EXPECT_EQ(plan["mode"], profile["mode"]);
  EXPECT_GE(plan["transfer"]["segment_bytes"], 16 << 10);
  EXPECT_FALSE(profile["network"]["messages"].empty());
  EXPECT_GT(read_json(folder_ / "run/summary.json")["predicted"]["step_seconds"], 0);
}

TEST_P(TrainInEvery, EndsSoonWhenARankIsKilledAndKeepsItsLastCheckpoint) {
  const std::string command = "train " + files_->options("vit") + mode() +
                              "--batches 4,4,8 --steps 1000000 --checkpoint-every 20 --log warn --results " +
                              out("run");
  expect_a_killed_rank_to_end(command, 3, out("run"));
  std::int64_t newest = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "run/checkpoints")) {
    if (fs::exists(entry.path() / "manifest.json"))
      newest = std::max(newest, read_json(entry.path() / "manifest.json")["step"].get<std::int64_t>());
  }
  ASSERT_GT(newest, 0);
  train(2, "vit", "--batches 8,8 --steps " + std::to_string(newest + 2) + " --resume " + out("run"));
}

TEST_P(TrainIn, SizesInFlightOfAPlanChangeNoBitOfTheWeights) {
  const auto weights = [&](const std::string& transfer) {
    write_file(folder_ / "batches.json", R"({"version":1,"batches":[4,12])" + transfer + "}");
    train(2, "vit", mode() + "--steps 5 --seed 2 --batches " + out("batches.json") + " --save " + out("w.safetensors"));
    return read_file(out("w.safetensors"));
  };
  const std::string usual = weights("");
  EXPECT_EQ(weights(R"(,"transfer":{"segment_bytes":4096,"sends_in_flight":2,"bucket_bytes":262144})"), usual);
}

INSTANTIATE_TEST_SUITE_P(Modes, TrainInEvery, testing::Values("ddp", "fsdp", "fsdp --offload", "lsdp"));
INSTANTIATE_TEST_SUITE_P(Modes, TrainIn, testing::Values("fsdp", "fsdp --offload", "lsdp"));

}  // namespace
}  // namespace lshdp::test
