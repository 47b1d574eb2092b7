// lshdp train --layout as its users run it: the weights of one process, resumed runs, refusals, failures.
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "plan/layouts.h"
#include "program.h"
#include "training_files.h"
#include "weights.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::ContainsRegex;

// Both small models have 6 blocks.
constexpr const char* kThreeStages =
    R"({"version":1,"replicas":[{"batch":16,"micro_batches":[5,5,6],"stages":)"
    R"([{"rank":2,"start":0,"end":1},{"rank":0,"start":1,"end":4},{"rank":1,"start":4,"end":6}]}]})";
constexpr const char* kMixed =
    R"({"version":1,"schedule":"gpipe","replicas":[{"batch":5,"stages":[{"rank":1,"start":0,"end":6}]},)"
    R"({"batch":11,"micro_batches":[4,7],"stages":[{"rank":2,"start":0,"end":2},{"rank":0,"start":2,"end":6}]}]})";
/// The head uses the embedding's table.
constexpr const char* kClosed =
    R"({"version":1,"replicas":[{"batch":16,"micro_batches":[4,4,4,4],"stages":)"
    R"([{"rank":1,"start":0,"end":2},{"rank":0,"start":2,"end":3},{"rank":2,"start":3,"end":5},{"rank":1,"start":5,"end":6}]}]})";

constexpr const char* kTwoWhole = R"({"version":1,"replicas":[{"batch":5,"stages":[{"rank":1,"start":0,"end":6}]},)"
                                  R"({"batch":11,"stages":[{"rank":0,"start":0,"end":6}]}]})";
/// 3.2 MB in ddp, at 16 bytes a parameter, for the images of the small ViT.
constexpr const char* kDeeperVit =
    R"({"type":"vit","image_size":8,"channels":1,"patch_size":4,"num_layers":6,"num_heads":2,"hidden_dim":64,)"
    R"("mlp_dim":128,"num_classes":5})";

class Layouts : public TrainingFixture<> {
 protected:
  std::string layout(const std::string& text) const {
    write_file(folder_ / "layout.json", text);
    return " --layout " + out("layout.json") + " ";
  }
  CommandResult run(int ranks, const std::string& model, const std::string& arguments) const {
    return run_lshdp_on(ranks, "train --log warn " + files_->options(model) + " " + arguments);
  }
  CommandResult train(int ranks, const std::string& model, const std::string& arguments) const {
    CommandResult result = run(ranks, model, arguments);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result;
  }
};

TEST_F(Layouts, GiveTheWeightsAndTheEvaluationOfOneProcess) {
  const std::vector<std::pair<std::string, const char*>> cases{
      {"vit", kThreeStages}, {"vit", kMixed}, {"gpt", kClosed}};
  for (const auto& [model, text] : cases) {
    // 100 samples in batches of 16: every seventh step is a partial one.
    const std::string common = " --steps 9 --precision fp64 --clip 0.5 --seed 3 --eval-data " +
                               files_->path(model + ".h5") + " --eval-every 4 --save ";
    const std::string one = train(1, model, "--batches 16" + common + out("one.safetensors")).output;
    const std::string three = train(3, model, layout(text) + common + out("three.safetensors")).output;
    EXPECT_LT(worst_difference(out("three.safetensors"), out("one.safetensors")), 1e-9) << model << text;
    const auto evaluation = [](const std::string& output) { return output.substr(output.find("evaluation loss")); };
    EXPECT_EQ(evaluation(one), evaluation(three));
  }
}

TEST_F(Layouts, TellWhatBlocksReadAndGiveAndWhatGoesToOtherRanks) {
  const std::string verbose = "--steps 2 --verbose-forward ";
  const std::string cut = train(3, "vit", layout(kThreeStages) + verbose).output;
  // 4 patches and the class token of 5 samples, in vectors of 16.
  EXPECT_THAT(cut, ContainsRegex("rank +host +device +block +name +reads +gives +goes to"));
  EXPECT_THAT(cut, ContainsRegex("0 +[^ ]+ +cpu +3 +attention 1 +5 x 5 x 16 fp32 +5 x 5 x 16 fp32 +rank 1, 1.56 KiB"));
  EXPECT_THAT(cut, ContainsRegex("1 +[^ ]+ +cpu +5 +head +5 x 5 x 16 fp32 +5 x 5 fp32 *\n"));
  EXPECT_THAT(cut, ContainsRegex("2 +[^ ]+ +cpu +0 +[^ ]+ +5 x 1 x 8 x 8 fp32 +5 x 5 x 16 fp32 +rank 0, 1.56 KiB"));
  const std::string whole = train(2, "gpt", "--batches 6,10 --precision bf16 " + verbose).output;
  EXPECT_THAT(whole, ContainsRegex("0 +[^ ]+ +cpu +1 +[^\n]*6 x [0-9]+ x [0-9]+ bf16"));
  EXPECT_THAT(whole, ContainsRegex("1 +[^ ]+ +cpu +0 +[^\n]* 10 x [0-9]+ int64 +10 x [0-9]+ x [0-9]+ bf16"));
  EXPECT_EQ(whole.find("1.56 KiB"), std::string::npos);
}

TEST_F(Layouts, ResumeUnderOtherLayoutsModesAndNumbersOfRanks) {
  const std::string common = " --precision fp64 --seed 4 --clip 0.5 ";
  train(1, "vit", "--batches 16 --steps 12 --save " + out("through.safetensors") + common);
  const auto part = [&](int ranks, const std::string& arguments) {
    train(ranks, "vit", arguments + " --results " + out("run") + common);
  };
  part(3, layout(kThreeStages) + "--steps 3 --checkpoint-every 3");
  part(3, layout(kMixed) + "--steps 6 --checkpoint-every 3 --resume " + out("run"));
  part(2, "--mode lsdp --batches 9,7 --steps 9 --checkpoint-every 3 --resume " + out("run"));
  part(3, layout(kThreeStages) + "--steps 12 --resume " + out("run") + " --save " + out("resumed.safetensors"));
  EXPECT_LT(worst_difference(out("resumed.safetensors"), out("through.safetensors")), 1e-9);
  EXPECT_EQ(read_json(folder_ / "run/layout.json")["replicas"][0]["stages"].size(), 3U);
}

TEST_F(Layouts, EvaluateAndGenerateAsOneProcessDoes) {
  for (const auto& [model, text] :
       std::vector<std::pair<std::string, const char*>>{{"vit", kMixed}, {"gpt", kClosed}}) {
    train(1, model, "--batches 16 --steps 2 --save " + out(model + ".safetensors"));
    const std::string evaluate = "evaluate --log warn --model " + files_->path(model + ".json") + " --data " +
                                 files_->path(model + ".h5") + " --micro-batch 7 --init " + out(model + ".safetensors");
    const CommandResult one = run_lshdp_on(1, evaluate), three = run_lshdp_on(3, evaluate + layout(text));
    EXPECT_EQ(one.exit_code, 0) << one.output;
    EXPECT_EQ(three.output, one.output);
  }
  write_file(folder_ / "bytes.json",
             R"({"type":"gpt2","n_layer":2,"n_head":2,"n_embd":16,"n_positions":8,"vocab_size":256})");
  run_lshdp("init --seed 1 --model " + out("bytes.json") + " --save " + out("bytes.safetensors"));
  const std::string generate = "generate --log warn --model " + out("bytes.json") + " --init " +
                               out("bytes.safetensors") + " --prompt abc --length 12 --temperature 0";
  const CommandResult one = run_lshdp_on(1, generate), three = run_lshdp_on(3, generate + layout(kClosed));
  EXPECT_EQ(one.exit_code, 0) << one.output;
  EXPECT_EQ(three.output, one.output);
  for (const auto& [arguments, message] :
       std::vector<std::pair<std::string, std::string>>{{generate, "--layout is missing"},
                                                        {generate + layout(kTwoWhole), "2 replicas"},
                                                        {generate + " --temperature -1", "--temperature"}}) {
    const CommandResult refused = run_lshdp_on(3, arguments);
    EXPECT_EQ(refused.exit_code, 2) << refused.output;
    EXPECT_NE(refused.output.find(message), std::string::npos) << refused.output;
  }
}

TEST_F(Layouts, TrainAModelThatNoRankHolds) {
  const std::string folder = out("parts");
  write_file(folder_ / "deeper.json", kDeeperVit);
  const std::string command =
      "train --log warn --model " + out("deeper.json") + " --data " + files_->path("vit.h5") + " --total 12 --steps 3 ";
  const CommandResult small =
      run_lshdp_on(3, command + "--memory 2500KiB --layout pipeline --stages uniform --results " + folder);
  ASSERT_EQ(small.exit_code, 0) << small.output;
  EXPECT_NE(small.output.find("its blocks are timed in parts"), std::string::npos) << small.output;
  const Json layout = read_json(fs::path(folder) / "layout.json");
  EXPECT_GT(layout["replicas"][0]["stages"].size(), 1U);
  const Json profile = read_json(fs::path(folder) / "profile.json");
  for (const Json& rank : profile["ranks"]) EXPECT_EQ(rank["max_batch"], 0);
  const CommandResult refused = run_lshdp_on(3, command + "--memory 2500KiB");
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_NE(refused.output.find("does not fit"), std::string::npos) << refused.output;
}

TEST_F(Layouts, LeaveARankOut) {
  train(1, "vit", "--batches 16 --steps 4 --precision fp64 --save " + out("one.safetensors"));
  const std::string text = R"({"version":1,"replicas":[{"batch":16,"micro_batches":[8,8],"stages":)"
                           R"([{"rank":2,"start":0,"end":1},{"rank":1,"start":1,"end":6}]}]})";
  train(3, "vit", layout(text) + "--steps 4 --precision fp64 --results " + out("run"));
  EXPECT_LT(worst_difference(out("run/model.safetensors"), out("one.safetensors")), 1e-9);
}

TEST_F(Layouts, MeasurePlanAndTrainInOneLaunch) {
  for (const std::string kind : {"pipeline", "auto"}) {
    const std::string folder = out(kind);
    train(3, "vit", "--layout " + kind + " --total 24 --steps 10 --emulate-speed 0.8,0.2,0.4 --results " + folder);
    EXPECT_EQ(read_json(fs::path(folder) / "batches.json")["total"], 24);
    EXPECT_GT(read_json(fs::path(folder) / "summary.json")["predicted"]["step_seconds"], 0);
    if (kind == "auto") continue;
    const Json layout = read_json(fs::path(folder) / "layout.json");
    EXPECT_EQ(layout["replicas"].size(), 1U);
    EXPECT_EQ(layout["replicas"][0]["batch"], 24);
  }
}

/// By a profile of three ranks alike, whatever their real speed.
TEST_F(Layouts, AreCutAnewWithinARunWithTheSameWeights) {
  plan::Profile profile = plan::test::cluster_of({10, 10, 10}, {.blocks = 6}, 1e9);
  profile.model = "vit";
  profile.data_shape = {1, 8, 8};
  plan::write_profile(folder_ / "profile.json", profile);
  const std::string uneven =
      layout(R"({"version":1,"replicas":[{"batch":16,"micro_batches":[4,4,4,4],"stages":)"
             R"([{"rank":2,"start":0,"end":4},{"rank":0,"start":4,"end":5},{"rank":1,"start":5,"end":6}]}]})");
  const std::string common = "--steps 60 --emulate-speed 0.1,0.1,0.1 --profile " + out("profile.json");
  train(3, "vit", uneven + common + " --rebalance 10 --results " + out("moved"));
  train(3, "vit", uneven + common + " --rebalance off --results " + out("still"));
  const Json summary = read_json(folder_ / "moved/summary.json"), still = read_json(folder_ / "still/summary.json");
  ASSERT_GE(summary["rebalances"].size(), 1U);
  EXPECT_EQ(still["rebalances"].size(), 0U);
  EXPECT_LT(summary["rebalances"][0]["cuts"][0], 4);
  EXPECT_EQ(read_file(folder_ / "moved/model.safetensors"), read_file(folder_ / "still/model.safetensors"));
  const CommandResult report = run_lshdp("report " + out("moved"));
  EXPECT_NE(report.output.find("stages ended before"), std::string::npos) << report.output;
  const CommandResult refused =
      run(3, "vit", layout(kMixed) + "--steps 2 --rebalance 5 --profile " + out("profile.json"));
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(
      refused.output.find("--rebalance: cuts move within a run in layouts of one replica only, and this one has 2"),
      std::string::npos)
      << refused.output;
}

TEST_F(Layouts, AreRefusedInOneLineThatNamesTheRemedy) {
  const std::string three = layout(kThreeStages);
  const std::vector<std::pair<std::string, std::string>> cases{
      {three + "--total 17", "has 16 samples a step, but --total is 17"},
      {three + "--mode lsdp", "--layout: the blocks of a stage lie on its rank as in --mode ddp"},
      {three + "--batches 8,8,0", "--batches: a layout has the batches of its replicas"},
      {three + "--rebalance 5", "--rebalance: a layout is cut anew by a profile of its ranks; add --profile"},
      {three + "--stages uniform", "--layout: a file has its cuts and schedule"},
      {three + "--comm nccl", "--layout: stages exchange by way of the host"},
      {"--layout auto", "--layout: stages are planned for a given number of samples a step; add --total"},
      {"--stages uniform --total 8", "--stages and --pipeline-schedule: only pipelines have stages"},
      {"--layout auto --total 8 --stages even", "--stages"},
      {"--layout nowhere.json --total 8", "nowhere.json"},
  };
  for (const auto& [arguments, message] : cases) {
    const CommandResult result = run(3, "vit", arguments + " --steps 2");
    EXPECT_EQ(result.exit_code, 2) << arguments << result.output;
    EXPECT_NE(result.output.find(message), std::string::npos) << arguments << result.output;
  }
}

TEST_F(Layouts, OfOtherModelsAndRanksAreRefused) {
  const auto refused = [&](int ranks, const std::string& model, const std::string& text, const std::string& message) {
    const CommandResult result = run(ranks, model, layout(text) + "--steps 2");
    EXPECT_EQ(result.exit_code, 2) << text << result.output;
    EXPECT_NE(result.output.find(message), std::string::npos) << text << result.output;
  };
  refused(2, "vit", kThreeStages, "rank 2");
  refused(3, "mlp", kThreeStages, "6 blocks");
  refused(3, "gpt", kThreeStages, "share");
}

TEST_F(Layouts, EndSoonWhenTheRankOfAStageIsKilled) {
  const std::string command = "train " + files_->options("vit") + layout(kThreeStages) +
                              "--steps 1000000 --checkpoint-every 20 --log warn --results " + out("run");
  expect_a_killed_rank_to_end(command, 3, out("run"));
}

}  // namespace
}  // namespace lshdp::test
