// lshdp train as its users run it: the same weights whatever the split, resuming, files, evaluation, generation.
#include <cmath>
#include <filesystem>
#include <sstream>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "program.h"
#include "training_files.h"
#include "weights.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class Train : public TrainingFixture<> {
 protected:
  /// Trains on `ranks` and expects success.
  CommandResult train(int ranks, const std::string& model, const std::string& arguments) const {
    CommandResult result = run_lshdp_on(ranks, "train " + files_->options(model) + " " + arguments);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result;
  }
};

TEST_F(Train, GivesTheWeightsOfOneProcessForEveryModelAndSplit) {
  for (const std::string model : {"vit", "gpt", "mlp"}) {
    // 100 samples in batches of 32: every fourth step is a partial one.
    const std::string common = "--steps 9 --precision fp64 --clip 0.5 --seed 3 --log warn --save ";
    train(1, model, "--batches 32 " + common + out("one.safetensors"));
    train(3, model, "--batches 7,2,23 " + common + out("three.safetensors"));
    train(2, model, "--batches 0,32 " + common + out("two.safetensors"));
    EXPECT_LT(worst_difference(out("three.safetensors"), out("one.safetensors")), 1e-9) << model;
    EXPECT_LT(worst_difference(out("two.safetensors"), out("one.safetensors")), 1e-9) << model;
  }
}

TEST_F(Train, ReportsTheSameLossesAndNormsWhateverTheSplit) {
  const auto figures = [&](int ranks, const std::string& batches) {
    const std::string run = "run" + std::to_string(ranks);
    train(ranks, "vit",
          "--batches " + batches + " --steps 12 --precision fp64 --log warn --results " + out(run.c_str()));
    std::istringstream lines(read_file(folder_ / (run + "/metrics.jsonl").c_str()));
    std::vector<double> values;
    for (std::string line; std::getline(lines, line);) {
      const Json record = Json::parse(line);
      if (record["record"] != "step") continue;
      values.push_back(record["loss"]);
      values.push_back(record["gradient_norm"]);
    }
    return values;
  };
  const std::vector<double> one = figures(1, "32"), three = figures(3, "1,20,11");
  ASSERT_EQ(one.size(), 24U);
  EXPECT_THAT(three, testing::Pointwise(testing::DoubleNear(1e-9), one));
}

TEST_F(Train, KeepsActivationsInTheHostWithoutChangingABit) {
  const auto weights = [&](const std::string& options) {
    train(2, "gpt",
          "--batches 20,12 --steps 4 --comm mpi --log warn --recompute --save " + out("w.safetensors") + options);
    return read_file(out("w.safetensors"));
  };
  const std::string recomputed = weights("");
  EXPECT_EQ(weights(" --offload-activations"), recomputed);
}

TEST_F(Train, RoundsWhatTravelsOnlyIfItIsTold) {
  const std::string common = "--batches 20,12 --steps 12 --log warn ";
  train(2, "vit", common + "--save " + out("exact.safetensors"));
  train(2, "vit", common + "--wire bf16 --results " + out("run") + " --save " + out("rounded.safetensors"));
  const double worst = worst_difference(out("rounded.safetensors"), out("exact.safetensors"));
  EXPECT_GT(worst, 1e-6);
  EXPECT_LT(worst, 0.05);
  EXPECT_EQ(read_json(folder_ / "run/summary.json").at("wire"), "bf16");
}

TEST_F(Train, MeasuresSolvesAndLearnsInFp16InEveryMode) {
  for (const std::string mode : {"ddp", "fsdp", "lsdp"}) {
    train(2, "vit",
          "--precision fp16 --mode " + mode + " --batches auto --total 24 --steps 60 --lr 3e-3 --memory 256MiB --log " +
              "warn --results " + out(mode.c_str()));
    const Json summary = read_json(folder_ / mode.c_str() / "summary.json");
    EXPECT_EQ(summary["precision"], "fp16");
    EXPECT_EQ(read_json(folder_ / mode.c_str() / "profile.json")["precision"], "fp16");
    EXPECT_GT(read_json(folder_ / mode.c_str() / "profile.json")["ranks"][0]["update_seconds"], 0);
    EXPECT_LT(summary["loss"], 0.9 * std::log(5.0));
    EXPECT_LT(summary["skipped_steps"], 20);
  }
}

TEST_F(Train, SaysThatItHasNoDropoutWhereTheModelAsksForIt) {
  Json config = read_json(files_->path("gpt.json"));
  config["resid_pdrop"] = 0.1;
  write_json(folder_ / "dropout.json", config);
  const std::string data = " --data " + files_->path("gpt.h5"), model = "--model " + out("dropout.json") + data;
  const CommandResult trained =
      run_lshdp_on(2, "train --batches 4,4 --steps 1 --save " + out("w.safetensors") + " " + model);
  EXPECT_EQ(trained.exit_code, 0) << trained.errors;
  EXPECT_THAT(trained.errors, HasSubstr("asks for dropout (resid_pdrop 0.1), which lshdp does not have"));
  const CommandResult evaluated = run_lshdp("evaluate --init " + out("w.safetensors") + " " + model);
  EXPECT_EQ(evaluated.exit_code, 0) << evaluated.errors;
  EXPECT_THAT(evaluated.errors, testing::Not(HasSubstr("dropout")));
  EXPECT_EQ(
      evaluated.output,
      run_lshdp("evaluate --init " + out("w.safetensors") + " --model " + files_->path("gpt.json") + data).output);
}

TEST_F(Train, AugmentsTheSameWhateverTheSplit) {
  const std::string common = "--steps 6 --precision fp64 --crop-padding 2 --flip --log warn --save ";
  train(1, "vit", "--batches 20 " + common + out("one.safetensors"));
  train(3, "vit", "--batches 5,11,4 " + common + out("three.safetensors"));
  EXPECT_LT(worst_difference(out("three.safetensors"), out("one.safetensors")), 1e-9);
}

TEST_F(Train, ContinuesOnAnotherNumberOfRanksAsIfItHadNeverStopped) {
  const std::string common = "--precision fp64 --log warn --seed 4 ";
  train(1, "vit", "--batches 16 --steps 12 --save " + out("through.safetensors") + " " + common);
  train(3, "vit", "--batches 5,5,6 --steps 7 --checkpoint-every 7 --results " + out("run") + " " + common);
  train(2, "vit",
        "--batches 3,13 --steps 12 --resume " + out("run") + " --results " + out("run") + " --save " +
            out("resumed.safetensors") + " " + common);
  EXPECT_LT(worst_difference(out("resumed.safetensors"), out("through.safetensors")), 1e-9);
  std::istringstream lines(read_file(folder_ / "run/metrics.jsonl"));
  std::vector<std::int64_t> steps;
  for (std::string line; std::getline(lines, line);) {
    const Json record = Json::parse(line);
    if (record["record"] == "step") steps.push_back(record["step"]);
  }
  EXPECT_THAT(steps, testing::ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
}

TEST_F(Train, FollowsShardWeightsOfThePlanAndResumesWithoutThem) {
  write_file(folder_ / "plan.json", R"({"version":1,"mode":"ddp","total":16,"ranks":[)"
                                    R"({"rank":0,"batch":5,"micro_batches":[5],"shard_weight":1},)"
                                    R"({"rank":1,"batch":5,"micro_batches":[3,2],"shard_weight":3},)"
                                    R"({"rank":2,"batch":6,"micro_batches":[6],"shard_weight":0}]})");
  const std::string common = "--precision fp64 --log warn --seed 4 ";
  train(1, "vit", "--batches 16 --steps 12 --save " + out("through.safetensors") + " " + common);
  train(3, "vit",
        "--batches " + out("plan.json") + " --memory 256MiB --steps 7 --checkpoint-every 7 --results " + out("run") +
            " " + common);
  EXPECT_EQ(read_json(folder_ / "run/batches.json")["ranks"][2]["shard_weight"], 0);
  train(2, "vit",
        "--batches 3,13 --steps 10 --checkpoint-every 3 --resume " + out("run") + " --results " + out("run") + " " +
            common);
  train(3, "vit",
        "--batches " + out("plan.json") + " --steps 12 --resume " + out("run") + " --save " +
            out("resumed.safetensors") + " " + common);
  EXPECT_LT(worst_difference(out("resumed.safetensors"), out("through.safetensors")), 1e-9);
}

TEST_F(Train, LeavesARunDirectoryThatSaysWhatHappened) {
  const CommandResult result = train(2, "vit",
                                     "--batches 12,4 --epochs 2 --eval-data " + files_->path("vit.h5") +
                                         " --eval-every 5 --trace --tensorboard --results " + out("run"));
  const Json summary = read_json(folder_ / "run/summary.json");
  EXPECT_EQ(summary["steps"], 14);  // 100 samples in batches of 16 are 7 steps
  EXPECT_EQ(summary["samples"], 200);
  EXPECT_EQ(summary["ranks"][0]["batch"], 12);
  EXPECT_GT(summary["step_seconds"]["median"], 0);
  EXPECT_TRUE(summary["evaluation"]["accuracy"].is_number());
  EXPECT_EQ(read_json(folder_ / "run/batches.json")["total"], 16);
  EXPECT_THAT(result.errors, HasSubstr("step 14/14 | loss"));
  EXPECT_THAT(result.output, HasSubstr("evaluation loss"));
  const Json trace = Json::parse(read_file(folder_ / "run/trace.json"));
  const Json& events = trace.is_array() ? trace : trace["traceEvents"];
  std::set<std::string> names;
  std::set<int> ranks;
  for (const Json& event : events) {
    names.insert(event["name"].get<std::string>());
    ranks.insert(event["pid"].get<int>());
  }
  EXPECT_THAT(ranks, testing::ElementsAre(0, 1));
  EXPECT_TRUE(names.contains("reduce-scatter 0"));
  const auto events_written = fs::directory_iterator(folder_ / "run/tensorboard");
  EXPECT_THAT(read_file(events_written->path()),
              AllOf(HasSubstr("train/loss"), HasSubstr("evaluation/accuracy"), HasSubstr("wait_seconds/rank_1")));
  EXPECT_THAT(result.errors, AllOf(HasSubstr(" | fullest rank "), HasSubstr(" left, until ")));
  train(1, "vit", "--batches 16 --steps 1 --overwrite --log warn --results " + out("run"));
  EXPECT_FALSE(fs::exists(folder_ / "run/tensorboard"));
}

TEST_F(Train, EvaluatesEverySampleOnceOnAnyNumberOfRanks) {
  train(1, "vit", "--batches 10 --steps 3 --log warn --save " + out("w.safetensors"));
  const std::string command = "evaluate " + files_->options("vit") +
                              " --micro-batch 7 --precision fp64 --log warn --init " + out("w.safetensors");
  const CommandResult one = run_lshdp_on(1, command), three = run_lshdp_on(3, command);
  EXPECT_EQ(one.exit_code, 0) << one.output;
  EXPECT_EQ(one.output, three.output);
  EXPECT_THAT(one.output, HasSubstr("over 100 samples"));
}

TEST_F(Train, GeneratesTheSameTextForTheSameSeed) {
  write_file(folder_ / "bytes.json",
             R"({"type":"gpt2","n_layer":1,"n_head":2,"n_embd":16,"n_positions":8,"vocab_size":256})");
  const std::string model = " --model " + out("bytes.json");
  ASSERT_EQ(run_lshdp("init" + model + " --seed 1 --save " + out("w.safetensors")).exit_code, 0);
  const std::string command =
      "generate --log warn" + model + " --init " + out("w.safetensors") + " --prompt 'In the' --length 20 --seed ";
  const CommandResult first = run_lshdp(command + "1");
  EXPECT_EQ(first.exit_code, 0) << first.output;
  EXPECT_THAT(first.output, testing::StartsWith("In the"));
  EXPECT_EQ(first.output.size(), 6U + 20U + 1U);
  EXPECT_EQ(run_lshdp(command + "1").output, first.output);
  EXPECT_NE(run_lshdp(command + "2").output, first.output);
}

TEST_F(Train, MeasuresSolvesAndTrainsInOneLaunch) {
  train(2, "vit",
        "--batches auto --total 24 --steps 30 --memory 256MiB --emulate-speed 0.2,0.04 --results " + out("run"));
  const Json plan = read_json(folder_ / "run/batches.json"), summary = read_json(folder_ / "run/summary.json");
  EXPECT_EQ(plan["total"], 24);
  EXPECT_GT(plan["ranks"][0]["batch"], plan["ranks"][1]["batch"]);
  EXPECT_GT(summary["predicted"]["step_seconds"], 0);
  EXPECT_GT(summary["ranks"][0]["max_batch"], 0);
  EXPECT_TRUE(fs::exists(folder_ / "run/profile.json"));
}

TEST_F(Train, RebalancesBatchesGivenByHandIfAsked) {
  const std::string common = " --total 64 --steps 60 --precision fp64 --log info --emulate-speed 0.2,0.04 --results ";
  const CommandResult moved = train(2, "vit", "--batches equal --rebalance 10" + common + out("moved"));
  train(2, "vit", "--batches equal" + common + out("fixed"));
  const Json summary = read_json(folder_ / "moved/summary.json"), fixed = read_json(folder_ / "fixed/summary.json");
  ASSERT_GE(summary["rebalances"].size(), 1U);
  EXPECT_EQ(fixed["rebalances"].size(), 0U);
  EXPECT_GT(summary["rebalances"][0]["batches"][0], 32);
  EXPECT_THAT(moved.errors, AllOf(HasSubstr("rebalanced from step"), HasSubstr("batches 32,32 -> ")));
  EXPECT_NEAR(summary["loss"].get<double>(), fixed["loss"].get<double>(), 1e-9);
}

TEST_F(Train, StopsAtASignalWithACheckpointToContinueFrom) {
  const std::string command =
      "train " + files_->options("vit") + " --batches 16 --steps 1000000 --log warn --results " + out("run");
  const CommandResult stopped =
      run_command(lshdp_binary() + " " + command + " & " +
                  wait_in_shell("grep -q '\"step\",' " + out("run") + "/metrics.jsonl") + "kill -TERM $!; wait $!");
  EXPECT_EQ(stopped.exit_code, 75) << stopped.output;
  EXPECT_THAT(stopped.errors, HasSubstr("interrupted after step"));
  const Json manifest = read_json(fs::directory_iterator(folder_ / "run/checkpoints")->path() / "manifest.json");
  const std::int64_t step = manifest["step"];
  train(1, "vit",
        "--batches 16 --log warn --steps " + std::to_string(step + 3) + " --resume " + out("run") + " --results " +
            out("run"));
}

}  // namespace
}  // namespace lshdp::test
