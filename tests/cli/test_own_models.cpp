// lshdp with models exported from PyTorch, as users run it: PyTorch's own weights in every mode, resumed runs, what is
// refused.
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "program.h"
#include "support/temporary_directory.h"
#include "weights.h"

namespace lshdp::test {
namespace {

constexpr const char* kStages =
    R"({"version":1,"replicas":[{"batch":12,"micro_batches":[5,7],"stages":[{"rank":1,"start":0,"end":1},)"
    R"({"rank":0,"start":1,"end":2},{"rank":2,"start":2,"end":3},{"rank":1,"start":3,"end":4}]}]})";

/// The models and data of scripts/make_traced_references.py, which trained them for four steps of all samples.
class OwnModels : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryDirectory>();
    make("traced_gpt", "synthetic-tokens --count 97 --vocab 13 --seed 1");
    make("traced_conv", "synthetic-images --count 12 --channels 2 --size 8 --classes 5 --seed 1");
    write_file(path("layout.json"), kStages);
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static void make(const std::string& name, const std::string& arguments) {
    EXPECT_EQ(run_lshdp("data " + arguments + " --out " + path(name + ".h5")).exit_code, 0);
  }
  static std::string path(const std::string& name) { return (folder_->path() / name).string(); }
  static std::string model(const std::string& name) { return MODEL_DATA "/" + name + ".weights.safetensors"; }
  static CommandResult train(int ranks, const std::string& name, const std::string& arguments) {
    return run_lshdp_on(ranks, "train --log warn --model " + model(name) + " --data " + path(name + ".h5") +
                                   " --lr 1e-2 --steps 4 " + arguments);
  }
  static void refused(const std::string& arguments, const std::string& words) {
    const CommandResult result = run_lshdp(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_THAT(result.output, testing::HasSubstr(words));
  }

  static inline std::unique_ptr<TemporaryDirectory> folder_;
};

TEST_F(OwnModels, ArriveAtTheWeightsOfPyTorchInEveryModeAndAPipeline) {
  const std::string stages = "--layout " + path("layout.json");
  const std::vector<std::pair<std::string, std::string>> cases{
      {"traced_gpt", "--batches 7,4,1"},
      {"traced_gpt", "--batches 2,9,1 --mode lsdp"},
      {"traced_gpt", stages},
      {"traced_conv", "--batches 1,3,8 --mode fsdp --recompute"},
      {"traced_conv", stages}};
  for (const auto& [name, way] : cases) {
    const CommandResult result = train(3, name, way + " --precision fp64 --save " + path("trained.safetensors"));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_LT(worst_difference(path("trained.safetensors"), MODEL_DATA "/" + name + ".trained.safetensors"), 1e-9)
        << name << ' ' << way;
  }
}

TEST_F(OwnModels, ComputeInAllOtherTypesToTheirRounding) {
  for (const auto& [precision, limit] : {std::pair("fp32", 1e-4), std::pair("bf16", 0.1), std::pair("fp16", 0.1)}) {
    const std::string arguments =
        " --batches 7,5 --precision " + std::string(precision) + " --save " + path("narrow.safetensors");
    const CommandResult result = train(2, "traced_conv", arguments);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_LT(worst_difference(path("narrow.safetensors"), MODEL_DATA "/traced_conv.trained.safetensors"), limit);
  }
}

TEST_F(OwnModels, RunsGoOnAndAreEvaluatedAndExportedWithoutTheFile) {
  const std::string data = path("traced_gpt.h5"), run = path("run");
  const std::string again = " --precision fp64 --batches 7,5 --results " + run;
  ASSERT_EQ(train(2, "traced_gpt", "--checkpoint-every 2" + again).exit_code, 0);
  ASSERT_EQ(run_command("rm -r " + run + "/checkpoints/step-4 " + run + "/model.safetensors").exit_code, 0);
  const CommandResult resumed = run_lshdp_on(
      2, "train --log warn --model " + run + " --data " + data + " --lr 1e-2 --steps 4 --resume auto" + again);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_LT(worst_difference(run + "/model.safetensors", MODEL_DATA "/traced_gpt.trained.safetensors"), 1e-9);
  const std::string evaluated = run_lshdp("evaluate --log warn --init " + run + " --data " + data).output;
  EXPECT_THAT(evaluated, testing::HasSubstr("over 12 samples"));
  ASSERT_EQ(run_lshdp("export " + run + " --out " + path("exported")).exit_code, 0);
  EXPECT_EQ(run_lshdp("evaluate --log warn --init " + path("exported") + " --data " + data).output, evaluated);
  EXPECT_EQ(run_lshdp("evaluate --log warn --init " + model("traced_gpt") + " --data " + data).exit_code, 0);
  refused("train --model " + run + " --data " + data + " --batches 12 --steps 1", "--init WEIGHTS is missing");
}

TEST_F(OwnModels, AreMeasuredAndDescribed) {
  const std::string names = " --model " + model("traced_conv");
  const CommandResult profile =
      run_lshdp_on(2, "profile --log warn" + names + " --total 12 --curve-seconds 1 --out " + path("profile.json"));
  EXPECT_EQ(profile.exit_code, 0) << profile.output;
  EXPECT_EQ(run_lshdp("optimize " + path("profile.json") + " --total 12 --out " + path("plan.json")).exit_code, 0);
  EXPECT_EQ(train(2, "traced_conv", "--batches " + path("plan.json")).exit_code, 0);
  EXPECT_EQ(run_lshdp("memory --log warn" + names + " --mode lsdp").exit_code, 0);
  EXPECT_THAT(run_lshdp("describe" + names).output, testing::HasSubstr("4 x 3 x 3"));
}

TEST_F(OwnModels, SayWhatTheyDoNotHave) {
  const std::string given =
      "train --batches 12 --steps 1 --data " + path("traced_gpt.h5") + " --model " + model("traced_gpt");
  refused(given + " --context 4", "for sequences of 8 tokens, not 4");
  refused(given + " --lora r=2,targets=all-linear", "--lora");
  refused("init --save " + path("fresh.safetensors") + " --model " + model("traced_gpt"), "with its first weights");
  refused("generate --init " + model("traced_gpt") + " --prompt a", "generates nothing here");
  refused("train --batches 12 --steps 1 --data " + path("traced_gpt.h5") + " --model " +
              MODEL_DATA "/vit.weights.safetensors",
          "safetensors");
}

}  // namespace
}  // namespace lshdp::test
