// max-batch and profile as users run them: results on stdout and in files, one line and exit code 2 for wrong input.
#include <cstdlib>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/plan/plan.h"
#include "lshdp/plan/profile.h"
#include "program.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class MeasureCommands : public testing::Test {
 protected:
  MeasureCommands() {
    write_json(folder_ / "vit.json", {{"type", "vit"},
                                      {"image_size", 16},
                                      {"channels", 1},
                                      {"patch_size", 4},
                                      {"num_layers", 2},
                                      {"num_heads", 2},
                                      {"hidden_dim", 16},
                                      {"mlp_dim", 32},
                                      {"num_classes", 10}});
  }
  std::string path(const char* name) const { return (folder_ / name).string(); }
  std::string model() const { return "--model " + path("vit.json") + " --threads 1"; }
  void expect_refused(int ranks, const std::string& arguments, const std::string& message) const {
    const CommandResult result = run_lshdp_on(ranks, arguments + " --out " + path("out.json"));
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_EQ(count_lines_with(result.errors, "lshdp "), 1) << result.errors;
    EXPECT_THAT(result.errors, HasSubstr(message));
    EXPECT_FALSE(std::filesystem::exists(path("out.json")));
  }

 private:
  TemporaryDirectory folder_;
};

TEST_F(MeasureCommands, MaxBatchPrintsATableAndWritesTheResult) {
  const auto result = run_lshdp_on(2, "max-batch " + model() + " --memory 1MiB,2MiB --out " + path("out.json"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("max batch"));
  const Json json = read_json(path("out.json"));
  EXPECT_EQ(json.at("model"), "vit");
  ASSERT_EQ(json.at("ranks").size(), 2U);
  EXPECT_GT(json["ranks"][0]["max_batch"], 0);
  EXPECT_GT(json["ranks"][1]["max_batch"], json["ranks"][0]["max_batch"]);
  EXPECT_EQ(json["ranks"][1]["limited_by"], "memory");
}

TEST_F(MeasureCommands, AModelThatFitsNowhereFailsWithTheBytesOfEachRank) {
  const auto result = run_lshdp_on(2, "max-batch " + model() + " --memory 10KiB,20KiB --out " + path("out.json"));
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_THAT(result.errors, HasSubstr("has 10.0 KiB and needs"));
  EXPECT_THAT(result.errors, HasSubstr("has 20.0 KiB and needs"));
  EXPECT_EQ(count_lines_with(result.errors, "lshdp "), 1) << result.errors;
}

TEST_F(MeasureCommands, MemoryShowsPartsPredictedAndMeasured) {
  const auto result =
      run_lshdp_on(2, "memory " + model() + " --mode lsdp --memory 64MiB --batch 8,4 --out " + path("out.json"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, AllOf(HasSubstr("rank 0"), HasSubstr("rank 1"), HasSubstr("moments"),
                                   HasSubstr("within the 64.0 MiB budget")));
  const Json json = read_json(path("out.json"));
  EXPECT_EQ(json.at("mode"), "lsdp");
  ASSERT_EQ(json.at("ranks").size(), 2U);
  EXPECT_EQ(json["ranks"][0]["batch"], 8);
  EXPECT_EQ(json["ranks"][1]["batch"], 4);
  EXPECT_GT(json["ranks"][1]["measured"]["host_bytes"], 0);
}

TEST_F(MeasureCommands, MemoryTellsWhichBlocksStayOnTheDeviceAndWhatAProcessTakes) {
  const auto resident = [&](const std::string& options) {
    const auto result =
        run_lshdp_on(1, "memory " + model() + " --mode lsdp --batch 8 --out " + path("out.json") + " " + options);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    EXPECT_THAT(result.output, AllOf(HasSubstr("blocks stay on the device (--resident)"),
                                     HasSubstr("beside tensors a process takes about")));
    const Json rank = read_json(path("out.json"))["ranks"][0];
    EXPECT_GT(rank["process"]["peak_resident_bytes"], 10 << 20);
    return std::pair(rank["resident"].get<int>(), rank["blocks"].get<int>());
  };
  const auto [all, blocks] = resident("--memory 64MiB");
  EXPECT_EQ(all, blocks) << "the default lets as many stay as the budget holds";
  EXPECT_EQ(resident("--memory 64MiB --resident 1").first, 1);
  EXPECT_EQ(resident("--memory 64KiB").first, 0);
}

TEST_F(MeasureCommands, ACurveThatTimeCutShortLeavesTheLargestBatchAndCutsNothing) {
  const std::string file = path("out.json"), plan_file = path("plan.json");
  const auto profiled = run_lshdp_on(2, "profile " + model() +
                                            " --memory 64MiB --total 64 --emulate-speed 0.05,0.1 --curve-seconds 0.1 "
                                            "--out " +
                                            file);
  ASSERT_EQ(profiled.exit_code, 0) << profiled.output;
  EXPECT_THAT(profiled.output, AllOf(HasSubstr("timed to"), HasSubstr("64+")));
  const plan::Profile profile = plan::read_profile(file);
  for (const plan::RankProfile& rank : profile.ranks) {
    EXPECT_EQ(rank.max_batch, 64) << "memory holds what the total asks for";
    EXPECT_EQ(rank.max_batch_from, plan::MaxBatchFrom::limit);
    EXPECT_LT(rank.curve.back().batch, 64);
  }
  const auto solved = run_lshdp("optimize " + file + " --total 200 --max-accumulation 4 --out " + plan_file);
  ASSERT_EQ(solved.exit_code, 0) << solved.output;
  const auto again = run_lshdp("optimize " + file + " --total 64 --out " + plan_file);
  ASSERT_EQ(again.exit_code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("Micro-batches beyond what was timed"));
  const plan::Plan plan = plan::read_plan(plan_file);
  for (const plan::RankPlan& rank : plan.ranks) EXPECT_LE(rank.micro_batches.size(), 1U);
  ASSERT_EQ(run_lshdp("data synthetic-images --count 200 --channels 1 --size 16 --classes 10 --out " + path("d.h5"))
                .exit_code,
            0);
  const auto trained = run_lshdp_on(2, "train " + model() + " --memory 64MiB --data " + path("d.h5") +
                                           " --steps 3 --rebalance 1 --batches " + plan_file + " --profile " + file);
  EXPECT_EQ(trained.exit_code, 0) << trained.output;
  EXPECT_THAT(trained.output, HasSubstr("Micro-batches beyond what was timed"));
}

TEST_F(MeasureCommands, MemoryRefusesBatchesThatItCannotDrawALineTo) {
  expect_refused(2, "memory " + model() + " --batch 3", "--batch");
  expect_refused(3, "memory " + model() + " --batch 8,8", "--batch");
}

TEST_F(MeasureCommands, ProfileWritesWhatTheOptimizerReads) {
  const auto result = run_lshdp_on(
      2, "profile " + model() + " --memory 32MiB --total 12 --emulate-speed 0.5,0.25 --curve-seconds 1 --out " +
             path("out.json"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("samples/s"));
  EXPECT_THAT(result.output, HasSubstr("network: latency"));
  const plan::Profile profile = plan::read_profile(path("out.json"));
  EXPECT_EQ(profile.ranks.size(), 2U);
  EXPECT_EQ(profile.ranks[1].speed, 0.25);
  EXPECT_EQ(profile.ranks[1].curve.front().batch, 1);
  EXPECT_LE(profile.ranks[1].max_batch, 12);
  EXPECT_EQ(profile.ranks[1].threads, 1);
  EXPECT_GT(profile.ranks[1].repeated, 0);
}

TEST_F(MeasureCommands, ProfileOfLsdpTellsTheRateOfTheHostLink) {
  const auto result = run_lshdp_on(
      2, "profile " + model() + " --mode lsdp --resident 0 --memory 32MiB --total 4 --curve-seconds 1 --out " +
             path("out.json"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const plan::Profile profile = plan::read_profile(path("out.json"));
  EXPECT_EQ(profile.strategy.mode, plan::Mode::lsdp);
  EXPECT_GT(profile.ranks[0].update_parameters_per_second, 0);
  EXPECT_GT(profile.ranks[1].host_link_bytes_per_second, 0);
}

TEST_F(MeasureCommands, FsdpTrainsWhereDdpDoesNotFitAndOffloadNeedsLess) {
  write_file(path("deep.json"), R"({"type":"mlp","input_size":256,"hidden_sizes":[256,256,256,256,256,256,256,256,256,)"
                                R"(256,256,256],"output_size":5})");
  const auto probe = [&](const std::string& options) {
    return run_lshdp_on(
        4, "max-batch --model " + path("deep.json") + " --max 4 --out " + path("out.json") + " " + options);
  };
  const auto ddp = probe("--memory 6MiB");
  EXPECT_EQ(ddp.exit_code, 1) << ddp.output;
  EXPECT_THAT(ddp.errors, AllOf(HasSubstr("does not fit"), HasSubstr("use --mode fsdp")));
  ASSERT_EQ(probe("--memory 6MiB --mode fsdp").exit_code, 0);
  const std::int64_t sharded = read_json(path("out.json"))["ranks"][0]["peak_bytes"];
  ASSERT_EQ(probe("--memory 6MiB --mode fsdp --offload").exit_code, 0);
  const Json json = read_json(path("out.json"));
  EXPECT_EQ(json["mode"], "fsdp");
  EXPECT_EQ(json["offload"], true);
  EXPECT_LT(json["ranks"][0]["peak_bytes"], sharded);
}

TEST_F(MeasureCommands, ProfileOfFsdpSaysWhatItMoves) {
  const std::string rest = " --total 8 --curve-seconds 0.5 --out " + path("out.json");
  ASSERT_EQ(run_lshdp_on(2, "profile " + model() + rest).exit_code, 0);
  const plan::Profile ddp = plan::read_profile(path("out.json"));
  ASSERT_EQ(run_lshdp_on(2, "profile " + model() + rest + " --mode fsdp --offload").exit_code, 0);
  const plan::Profile fsdp = plan::read_profile(path("out.json"));
  EXPECT_EQ(fsdp.strategy.mode, plan::Mode::fsdp);
  EXPECT_TRUE(fsdp.strategy.offload);
  EXPECT_EQ(fsdp.gradient_bytes, ddp.gradient_bytes);
  EXPECT_GE(fsdp.parameter_bytes, ddp.parameter_bytes);
  EXPECT_GT(fsdp.ranks[0].update_seconds, 0);
}

TEST_F(MeasureCommands, WrongInputIsOneLineOnAnyNumberOfRanks) {
  for (const int ranks : {1, 3}) {
    expect_refused(ranks, "profile --model no_such_model", "no_such_model");
    expect_refused(ranks, "max-batch " + model() + " --memory 1MiB,2MiB", "--memory: 2 values for");
  }
}

TEST_F(MeasureCommands, WhatThisVersionDoesNotHaveIsRefused) {
  expect_refused(1, "max-batch " + model() + " --resident 2", "--resident: only --mode lsdp");
  expect_refused(1, "max-batch " + model() + " --mode lsdp --resident some", "--resident");
  expect_refused(1, "max-batch " + model() + " --offload", "--offload: only --mode fsdp");
  ::setenv("CUDA_VISIBLE_DEVICES", "", 1);  // a build with CUDA finds no device either
  expect_refused(1, "profile " + model() + " --device cuda", "--device: ");
  expect_refused(2, "profile " + model() + " --device cpu,gpu", "--device: unknown 'gpu'");
  expect_refused(1, "profile " + model() + " --comm nccl", "--comm: nccl is not possible: ");
  expect_refused(1, "profile " + model() + " --offload-activations", "--offload-activations: ");
}

TEST_F(MeasureCommands, AModelThatNoHostCanHoldIsRefusedBeforeItIsTried) {
  write_json(path("huge.json"), {{"type", "gpt2"},
                                 {"vocab_size", 50257},
                                 {"n_positions", 2048},
                                 {"n_layer", 96},
                                 {"n_head", 96},
                                 {"n_embd", 12288}});
  for (const std::string command : {"max-batch", "memory --batch 4", "profile"})
    expect_refused(2, command + " --mode lsdp --model " + path("huge.json"), "--mode: lsdp keeps ");
}

TEST_F(MeasureCommands, FiguresOutOfRangeAreRefused) {
  expect_refused(2, "profile " + model() + " --emulate-speed 1,0", "--emulate-speed: 0 for rank 1");
  expect_refused(1, "profile " + model() + " --total 0", "--total");
  expect_refused(1, "max-batch " + model() + " --max 0", "--max");
  expect_refused(1, "max-batch " + model() + " --precision fp8", "--precision");
  expect_refused(1, "max-batch " + model() + " --memory lots", "--memory");
  expect_refused(1, "max-batch " + model() + " --memory 0B", "--memory");
  expect_refused(2, "profile " + model() + " --data " + path("missing.h5"), "missing.h5");
}

}  // namespace
}  // namespace lshdp::test
