// Bad input to lshdp train: one clear line, the right exit code, soon, on every number of ranks, and no rank left.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "lshdp/core/file.h"
#include "lshdp/plan/plan.h"
#include "plan/profiles.h"
#include "program.h"
#include "training_files.h"

namespace lshdp::test {
namespace {

using testing::HasSubstr;

class BadInput : public TrainingFixture<> {
 protected:
  /// Expects one line that holds `message`, exit code `code`, alone and on two and three ranks.
  void refused(const std::string& arguments, const std::string& message, int code = 2,
               std::vector<int> on = {1, 2, 3}) const {
    for (const int ranks : on) {
      const CommandResult result = run_lshdp_on(ranks, "train --log warn " + arguments);
      EXPECT_EQ(result.exit_code, code) << arguments << " on " << ranks << "\n" << result.output;
      EXPECT_EQ(count_lines_with(result.errors, "lshdp train: "), 1) << result.errors;
      EXPECT_THAT(result.errors, HasSubstr(message));
    }
  }
  /// The same for what no rank has to be asked about.
  void refused_alone(const std::string& arguments, const std::string& message) const {
    const CommandResult result = run_lshdp("train --log warn " + arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments << "\n" << result.output;
    EXPECT_EQ(count_lines_with(result.errors, "lshdp train: "), 1) << result.errors;
    EXPECT_THAT(result.errors, HasSubstr(message));
  }
  std::string vit() const { return files_->options("vit") + " "; }
};

TEST_F(BadInput, UnknownModelModeOrOption) {
  refused("--model vit_b_17 --steps 1 --batches 1 --data " + files_->path("vit.h5"), "vit_b_17", 2, {1, 3});
  refused(vit() + "--steps 1 --batches 1 --mode zero", "--mode", 2, {2});
  refused(vit() + "--steps 1 --batches 1 --device cuda", "--device", 2, {2});
  refused_alone(vit() + "--steps 1 --batches 1 --optimiser adam", "--optimiser");
  refused_alone(vit() + "--steps 1 --epochs 1 --batches 1", "--steps and --epochs exclude each other");
  refused_alone(vit() + "--batches 1", "give either --steps or --epochs");
  refused_alone(vit() + "--epochs 292805461487453201 --batches 1", "--epochs: 292805461487453201 is too large");
  refused_alone(vit() + "--steps 1 --batches 1 --precision fp8", "--precision");
  refused_alone(vit() + "--steps 1 --batches 1 --offload-activations", "--offload-activations: what goes to the host");
}

TEST_F(BadInput, NumbersThatAreNotFinite) {
  const std::string step = vit() + "--steps 1 --batches 1 ";
  for (const std::string option :
       {"--lr", "--weight-decay", "--beta1", "--epsilon", "--clip", "--label-smoothing", "--emulate-speed"}) {
    for (const std::string text : {"inf", "nan"})
      refused_alone(step + option + " " + text, option + ": '" + text + "' must be a finite number");
  }
  refused_alone(step + "--lr 1e999", "--lr: '1e999' is too large or too small for a number");
  refused_alone(step + "--seed 99999999999999999999", "--seed: '99999999999999999999' is too large");
}

TEST_F(BadInput, AWireOrAWayThatDoesNotGoWithTheRest) {
  const std::string step = vit() + "--steps 1 --batches 1 ";
  refused_alone(step + "--wire fp16", "--wire");
  refused_alone(step + "--wire bf16 --precision fp64", "--wire: bf16 would undo");
  refused_alone(step + "--wire bf16 --precision fp16", "--wire: bf16 is not for --precision fp16");
  refused_alone(step + "--wire bf16 --mode fsdp", "--wire: bf16 is for --mode ddp");
  refused_alone(step + "--wire bf16 --comm nccl", "--wire: bf16 is for --comm mpi");
  refused_alone(step + "--comm telegraph", "--comm");
  refused(vit() + "--steps 1 --batches 1,1 --comm hierarchical", "--comm: hierarchical is not possible: ", 2, {2});
}

TEST_F(BadInput, BatchesThatMakeNoSense) {
  refused(vit() + "--steps 1 --batches 0,0", "0", 2, {2});
  refused(vit() + "--steps 1 --batches 4,-1", "-1", 2, {2});
  refused(vit() + "--steps 1 --batches 4,4,4", "3 ranks", 2, {1, 2});
  refused(vit() + "--steps 1 --batches 4,x", "--batches", 2, {2});
  refused(vit() + "--steps 1 --batches 4,4 --total 9", "--total", 2, {2});
  refused(vit() + "--steps 1 --batches equal", "--total", 2, {2});
  refused(vit() + "--steps 1 --batches equal --total 101", "100 samples", 2, {2});
  refused(vit() + "--steps 1 --batches auto --total 101", "100 samples", 2, {2});
  refused(vit() + "--steps 1 --batches 60,60", "100", 2, {2});
}

TEST_F(BadInput, ShardWeightsOfAnotherMode) {
  write_file(folder_ / "plan.json",
             R"({"version":1,"total":2,"ranks":[{"rank":0,"batch":1,"micro_batches":[1],"shard_weight":1},)"
             R"({"rank":1,"batch":1,"micro_batches":[1],"shard_weight":0}]})");
  for (const char* mode : {"fsdp", "lsdp"})
    refused(vit() + "--steps 1 --batches " + out("plan.json") + " --mode " + mode, "is for mode ddp", 2, {2});
}

TEST_F(BadInput, PlansOfOthers) {
  write_file(folder_ / "three.json", R"({"version":1,"batches":[1,2,3]})");
  refused(vit() + "--steps 1 --batches " + out("three.json"), "3 ranks", 2, {2});
  write_file(folder_ / "newer.json", R"({"version":2,"batches":[1,2]})");
  refused(vit() + "--steps 1 --batches " + out("newer.json"), "version 2", 2, {2});
  write_file(folder_ / "cut.json", R"({"version":1,"batches":[1,)");
  refused(vit() + "--steps 1 --batches " + out("cut.json"), "not valid JSON", 2, {2});
  write_file(
      folder_ / "other.json",
      R"({"version":1,"model":"gpt2","mode":"ddp","precision":"fp32","total":2,"ranks":[{"rank":0,"host":"a","batch":1,"micro_batches":[1]},)"
      R"({"rank":1,"host":"a","batch":1,"micro_batches":[1]}],"predicted":{"step_seconds":1,"samples_per_second":2,"compute_seconds":[1,1],)"
      R"("communication_seconds":0,"exposed_seconds":0},"equal_split":{"step_seconds":1}})");
  refused(vit() + "--steps 1 --batches " + out("other.json"), "gpt2", 2, {2});
}

TEST_F(BadInput, RebalancingThatMakesNoSense) {
  refused_alone(vit() + "--steps 1 --batches 1 --rebalance 0", "--rebalance");
  refused_alone(vit() + "--steps 1 --batches 1 --rebalance often", "--rebalance");
  refused(vit() + "--steps 1 --batches auto --profile p.json", "--profile", 2, {2});
  refused(vit() + "--steps 1 --batches 1,1 --profile " + out("absent.json"), "absent.json", 2, {2});
}

TEST_F(BadInput, AProfileOfOtherRanks) {
  plan::Profile profile = plan::test::make_profile({plan::test::linear_rank(8, 0, 1e-3)});
  plan::write_profile(folder_ / "one.json", profile);
  refused(vit() + "--steps 1 --batches 1,1 --profile " + out("one.json"), "is for 1 ranks", 2, {2});
}

TEST_F(BadInput, APlanOrAProfileOfAnotherMode) {
  plan::Plan plan = plan::plan_from_batches({1, 1});
  plan.strategy = {.mode = plan::Mode::fsdp, .offload = true};
  plan::write_plan(folder_ / "offloaded.json", plan);
  refused(vit() + "--steps 1 --batches " + out("offloaded.json"), "is for mode fsdp --offload, but this run has ddp", 2,
          {2});
  plan::Plan rounded = plan::plan_from_batches({1, 1});
  rounded.strategy = {.wire = Wire::bf16};
  plan::write_plan(folder_ / "rounded.json", rounded);
  refused(vit() + "--steps 1 --batches " + out("rounded.json"), "is for wire bf16, but this run has exact", 2, {2});
  plan::Profile profile =
      plan::test::make_profile({plan::test::linear_rank(8, 0, 1e-3), plan::test::linear_rank(8, 0, 1e-3)});
  profile.strategy.mode = plan::Mode::lsdp;
  plan::write_profile(folder_ / "lsdp.json", profile);
  refused(vit() + "--steps 1 --batches 1,1 --profile " + out("lsdp.json"), "is for mode", 2, {2});
}

TEST_F(BadInput, AProfileOfOtherSamples) {
  plan::Profile profile =
      plan::test::make_profile({plan::test::linear_rank(8, 0, 1e-3), plan::test::linear_rank(8, 0, 1e-3)});
  profile.model = "vit";
  profile.data_shape = {7, 24, 24};
  plan::write_profile(folder_ / "other.json", profile);
  refused(vit() + "--steps 1 --batches 1,1 --profile " + out("other.json"), "was measured with samples of [7, 24, 24]",
          2, {2});
}

TEST_F(BadInput, DataThatDoNotFit) {
  refused("--model " + files_->path("vit.json") + " --steps 1 --batches 1 --data " + files_->path("gpt.h5"),
          "gpt.h5 holds tokens, but the model reads images", 2, {1});
  refused("--model " + files_->path("gpt.json") + " --steps 1 --batches 1 --data " + files_->path("vit.h5"), "images",
          2, {1});
  refused("--model " + files_->path("vit.json") + " --steps 1 --batches 1,1 --data " + out("absent.h5"), "absent.h5", 2,
          {2});
  const std::string content = read_file(files_->path("vit.h5"));
  write_file(folder_ / "cut.h5", content.substr(0, content.size() / 2));
  refused("--model " + files_->path("vit.json") + " --steps 1 --batches 1,1 --data " + out("cut.h5"), "cut.h5", 2, {2});
}

TEST_F(BadInput, OptionsThatWouldHaveNoEffect) {
  const std::string gpt = files_->options("gpt") + " --steps 1 --batches 1 ", images = vit() + "--steps 1 --batches 1 ";
  refused(gpt + "--flip", "--flip is for images, but ", 2, {1});
  refused(gpt + "--crop-padding 2", "--crop-padding is for images", 2, {1, 2});
  refused(images + "--crop-padding 8", "--crop-padding: 8 is too large for ", 2, {1});
  refused_alone(images + "--eval-every 1", "--eval-every needs --eval-data");
  refused_alone(images + "--keep-checkpoints 3", "--keep-checkpoints needs --results or --resume");
  refused_alone(images + "--trace", "--trace needs --results or --resume");
  refused_alone(images + "--tensorboard", "--tensorboard needs --results or --resume");
  const CommandResult warned = run_lshdp("train --log warn " + images + "--warmup 500");
  EXPECT_EQ(warned.exit_code, 0) << warned.errors;
  EXPECT_THAT(warned.errors, HasSubstr("--warmup: the rate rises for 500 steps, but the run ends after 1"));
}

TEST_F(BadInput, WeightsThatDoNotFit) {
  write_file(folder_ / "cut.safetensors", std::string("\x10\0\0\0\0\0\0\0{}", 10));
  refused(vit() + "--steps 1 --batches 1,1 --init " + out("cut.safetensors"), "cut.safetensors", 2, {2});
  refused(vit() + "--steps 1 --batches 1,1 --resume " + out("nowhere"), "--resume", 2, {2});
}

TEST_F(BadInput, ALossThatIsNotFinite) {
  refused(vit() + "--steps 50 --batches 4,4 --lr 1e38", "rank", 1, {2});
  refused(vit() + "--steps 50 --batches 4 --lr 1e38", "the loss is not finite at step", 1, {1});
}

TEST_F(BadInput, AFolderThatCannotBeWritten) {
  refused(vit() + "--steps 1 --batches 1,1 --results /proc/lshdp", "--results", 2, {2});
  write_file(folder_ / "file", "");
  refused(vit() + "--steps 1 --batches 1,1 --results " + out("file") + "/run", "--results", 2, {2});
  refused(vit() + "--steps 1 --batches 1,1 --save /proc/lshdp/w.safetensors", "--save", 2, {2});
}

TEST_F(BadInput, AFullDisk) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can mount a small file system";
  const std::string disk = out("disk");
  if (run_command("mkdir " + disk + " && mount -t tmpfs -o size=64k lshdp-test " + disk).exit_code != 0) {
    GTEST_SKIP() << "a small file system cannot be mounted here";
  }
  refused(vit() + "--steps 2000 --batches 4,4 --results " + disk, "No space left on device", 1, {2});
  refused(vit() + "--steps 2 --batches 4,4 --checkpoint-every 1 --results " + disk + "/run", "No space left on device",
          1, {2});
  refused(vit() + "--steps 2 --batches 4,4 --save " + disk + "/w.safetensors", "No space left on device", 1, {2});
  EXPECT_FALSE(std::filesystem::exists(disk + "/w.safetensors"));
  run_command("umount " + disk);
}

TEST_F(BadInput, ABatchBeyondTheMemoryOfOneRank) {
  refused(vit() + "--steps 1 --batches 1,90 --memory 512MiB,400KiB", "rank 1", 2, {2});
}

}  // namespace
}  // namespace lshdp::test
