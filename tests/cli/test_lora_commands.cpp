// LoRA by the command line: training in every mode and layout, resuming, adapters in and out, merging.
#include <filesystem>

#include <ATen/ATen.h>
#include <fmt/format.h>
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
using testing::HasSubstr;

constexpr const char* kLora = " --lora r=3,alpha=6,dropout=0.2,targets=c_attn,c_proj ";

class Lora : public TrainingFixture<> {
 protected:
  /// Some steps of the whole model: the weights that adapters are trained beside.
  void SetUp() override { train(1, "--batches 10 --steps 6 --lr 1e-2 --save " + base()); }
  std::string base() const { return out("base.safetensors"); }
  std::string adapter_of(const std::string& run) const { return out(run) + "/adapter_model.safetensors"; }

  CommandResult train(int ranks, const std::string& arguments) const {
    CommandResult result =
        run_lshdp_on(ranks, "train --log warn --precision fp64 --seed 4 " + files_->options("gpt") + " " + arguments);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result;
  }
  CommandResult refused(const std::string& arguments) const {
    CommandResult result = run_lshdp("train " + files_->options("gpt") + " --batches 10 --steps 4 " + arguments);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    return result;
  }
  /// "loss .. over 100 samples".
  std::string evaluation(const std::string& arguments) const {
    CommandResult result =
        run_lshdp("evaluate --precision fp64 --log warn " + files_->options("gpt") + " " + arguments);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result.output;
  }
};

TEST_F(Lora, TrainsTheSameAdapterInEveryModeAndLayout) {
  const std::string common = kLora + std::string("--clip 0.5 --steps 5 --init ") + base() + " --results ";
  train(1, "--batches 10" + common + out("one"));
  write_file(out("layout.json"),
             R"({"version":1,"model":"gpt with LoRA r=3 of c_attn,c_proj","blocks":6,"replicas":[)"
             R"({"batch":4,"micro_batches":[4],"stages":[{"rank":1,"start":0,"end":6}]},)"
             R"({"batch":6,"micro_batches":[3,3],"stages":[{"rank":0,"start":0,"end":2},{"rank":2,"start":2,"end":5},)"
             R"({"rank":0,"start":5,"end":6}]}]})");
  for (const std::string way : {"--batches 2,5,3", "--mode fsdp --batches 1,0,9", "--mode lsdp --batches 4,4,2",
                                "--recompute --batches 3,3,4"}) {
    fs::remove_all(out("three"));
    train(3, way + common + out("three"));
    EXPECT_LT(worst_difference(adapter_of("three"), adapter_of("one")), 1e-9) << way;
  }
  fs::remove_all(out("three"));
  train(3, "--layout " + out("layout.json") + common + out("three"));
  EXPECT_LT(worst_difference(adapter_of("three"), adapter_of("one")), 1e-9) << "layout";
  const CommandResult placed =
      run_lshdp_on(3, "evaluate --precision fp64 --log warn " + files_->options("gpt") + " --init " + base() +
                          " --adapter " + out("three") + " --layout " + out("layout.json"));
  EXPECT_EQ(placed.output, evaluation("--init " + base() + " --adapter " + out("one"))) << placed.errors;
}

TEST_F(Lora, GoesOnFromACheckpointOnOtherRanksAndFromAnAdapterAlone) {
  const std::string common = kLora + std::string("--init ") + base();
  train(1, "--batches 10 --steps 8 --results " + out("through") + common);
  train(3, "--batches 3,3,4 --steps 4 --checkpoint-every 4 --results " + out("run") + common);
  train(2, "--batches 8,2 --steps 8 --resume " + out("run") + common);
  EXPECT_LT(worst_difference(adapter_of("run"), adapter_of("through")), 1e-9);
  train(1, "--batches 10 --steps 3 --init " + base() + " --adapter " + out("run") + " --results " + out("more"));
  EXPECT_GT(worst_difference(adapter_of("more"), adapter_of("run")), 1e-6);
  EXPECT_LT(worst_difference(adapter_of("more"), adapter_of("run")), 1);
}

TEST_F(Lora, GoesOnWithWhatItsRunRecordedWhereOptionsAreLeftOutOrSaidInOtherWords) {
  const std::string common = "--batches 10 --checkpoint-every 2 --results ", run = out("run");
  train(1, kLora + ("--steps 8 --init " + base() + " ") + common + out("through"));
  train(1, kLora + ("--steps 2 --init " + base() + " ") + common + run);
  const std::string resume = "--batches 10 --checkpoint-every 2 --resume " + run;
  train(1, resume + " --steps 4");
  train(2, "--batches 5,5 --checkpoint-every 2 --resume " + run + " --steps 6" +
               " --lora alpha=6.0,targets=c_proj,c_attn,dropout=0.20,r=3 --base-precision full");
  train(1, resume + " --steps 8 --init " + base());
  EXPECT_LT(worst_difference(adapter_of("run"), adapter_of("through")), 1e-9);
  const Json last = read_json(run + "/run.json").at("resumes").back().at("options");
  EXPECT_EQ(last.at("lora"), "r=3,alpha=6,dropout=0.2,targets=c_attn,c_proj");
  EXPECT_EQ(last.at("init"), base());
}

TEST_F(Lora, GoesOnWithTheAdaptersAndTheBaseOfItsRunOnly) {
  train(1, kLora + ("--batches 10 --checkpoint-every 2 --steps 2 --init " + base()) + " --results " + out("run"));
  const std::string resume = "--precision fp64 --seed 4 --resume " + out("run");
  EXPECT_THAT(refused(resume + " --lora r=3,alpha=6,dropout=0.2,targets=c_attn").output,
              HasSubstr("--lora: the run that --resume goes on with has r=3,alpha=6,dropout=0.2,targets=c_attn,c_proj "
                        "(now r=3,alpha=6,dropout=0.2,targets=c_attn)"));
  EXPECT_THAT(refused(resume + " --base-precision nf4").output, HasSubstr("has full (now nf4)"));
  EXPECT_THAT(refused(resume + " --adapter " + out("run")).output, HasSubstr("--adapter and --resume exclude"));
  train(1, "--batches 10 --steps 2 --save " + out("other.safetensors"));
  EXPECT_THAT(refused(resume + " --init " + out("other.safetensors")).output,
              testing::AllOf(HasSubstr("--init"), HasSubstr("(now ")));
  EXPECT_THAT(refused("--init " + base() + " --resume " + out("plain")).output, HasSubstr("--resume"));
}

TEST_F(Lora, ChangesWhatTheModelSaysAndMergedSaysTheSame) {
  train(2, kLora + std::string("--batches 4,6 --steps 6 --lr 1e-2 --init ") + base() + " --results " + out("run"));
  const std::string plain = evaluation("--init " + base());
  const std::string adapted = evaluation("--init " + base() + " --adapter " + out("run"));
  EXPECT_NE(plain, adapted);
  const CommandResult merge = run_lshdp("merge-lora --model " + files_->path("gpt.json") + " --base " + base() +
                                        " --adapter " + out("run") + " --out " + out("merged"));
  EXPECT_EQ(merge.exit_code, 0) << merge.output;
  EXPECT_EQ(evaluation("--init " + out("merged")), adapted);
  const CommandResult into_the_run = run_lshdp("merge-lora --model " + files_->path("gpt.json") + " --base " + base() +
                                               " --adapter " + out("run") + " --out " + out("run"));
  EXPECT_EQ(into_the_run.exit_code, 2);
  EXPECT_THAT(into_the_run.errors, HasSubstr("weights beside it would be taken for others"));
  const CommandResult generate =
      run_lshdp("generate --log warn --model " + files_->path("gpt.json") + " --init " + out("run") + " --prompt a");
  EXPECT_EQ(generate.exit_code, 2);
  EXPECT_THAT(generate.output, HasSubstr("holds a LoRA adapter"));
}

/// A run has its adapter_config.json from the begin, and shorter samples than the model has positions.
TEST_F(Lora, OfACheckpointIsAnAdapterToo) {
  const std::string common = kLora + std::string("--context 5 --init ") + base();
  train(2, "--batches 4,6 --steps 4 --checkpoint-every 2 --results " + out("run") + common);
  const std::string finished = evaluation("--init " + base() + " --adapter " + out("run"));
  fs::remove(adapter_of("run"));
  EXPECT_EQ(evaluation("--init " + base() + " --adapter " + out("run")), finished);
  EXPECT_EQ(evaluation("--init " + base() + " --adapter " + out("run") + "/checkpoints/step-4"), finished);
  EXPECT_NE(evaluation("--init " + base() + " --adapter " + out("run") + "/checkpoints/step-2"), finished);
}

TEST_F(Lora, BesideAnotherBaseIsDoubted) {
  train(1, kLora + std::string("--batches 10 --steps 2 --init ") + base() + " --results " + out("run"));
  fs::copy(base(), out("other.safetensors"));
  const CommandResult doubted = run_lshdp("evaluate --log warn " + files_->options("gpt") + " --init " +
                                          out("other.safetensors") + " --adapter " + out("run"));
  EXPECT_EQ(doubted.exit_code, 0);
  EXPECT_THAT(doubted.errors, HasSubstr("was trained beside " + base()));
  EXPECT_THAT(run_lshdp_on(1, "train --log warn --precision fp64 " + files_->options("gpt") + kLora +
                                  "--batches 10 --steps 1 --results " + out("drawn"))
                  .errors,
              HasSubstr("--init is missing"));
}

TEST_F(Lora, KeepsTheBestAdapter) {
  train(1, kLora + std::string("--batches 10 --steps 4 --eval-every 2 --keep-best --eval-data ") +
               files_->path("gpt.h5") + " --init " + base() + " --results " + out("run"));
  EXPECT_TRUE(fs::exists(out("run") + "/best/adapter_model.safetensors"));
  EXPECT_TRUE(fs::exists(out("run") + "/best/adapter_config.json"));
  EXPECT_FALSE(fs::exists(out("run") + "/model.safetensors"));
  evaluation("--init " + base() + " --adapter " + out("run") + "/best");
}

TEST_F(Lora, PlansAndMeasuresTheAdaptedModel) {
  const std::string run = out("run");
  train(2, kLora + std::string("--batches auto --total 10 --steps 4 --init ") + base() + " --results " + run);
  const Json profile = Json::parse(read_file(run + "/profile.json"));
  EXPECT_THAT(profile.at("model").get<std::string>(), HasSubstr("LoRA r=3 of c_attn,c_proj"));
  // c_attn 16 -> 48, c_proj 16 -> 16 and 64 -> 16, in each of two layers.
  EXPECT_EQ(profile.at("parameter_count"), 2 * 3 * (16 + 48 + 16 + 16 + 64 + 16));
  // Each tensor is padded to a multiple of some elements.
  EXPECT_LT(profile.at("gradient_bytes"), 16 * profile.at("parameter_count").get<int>());
}

TEST_F(Lora, RefusesWhatDoesNotGoTogether) {
  EXPECT_THAT(refused("--lora r=2,targets=wte").output, HasSubstr("'wte' is no linear layer"));
  EXPECT_THAT(refused("--lora r=2,targets=c_attn --adapter x").output, HasSubstr("exclude each other"));
  EXPECT_THAT(refused("--lora r=2,targets=c_attn --save " + out("w.safetensors")).output, HasSubstr("--save"));
  EXPECT_THAT(refused("--adapter " + out("nothing")).output, HasSubstr("there is no"));
  const std::string in_the_same =
      "--lora r=2,targets=c_attn --init " + base() + " --results " + fs::path(base()).parent_path().string();
  EXPECT_THAT(refused(in_the_same).output, HasSubstr("holds what --init names"));
  fs::create_directory(out("empty"));
  EXPECT_THAT(refused("--adapter " + out("empty")).output, HasSubstr("holds no adapter_model.safetensors"));
}

}  // namespace
}  // namespace lshdp::test
