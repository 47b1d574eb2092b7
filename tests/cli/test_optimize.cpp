// lshdp optimize: the plan it prints and writes, and each bad input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/plan/layout.h"
#include "lshdp/plan/plan.h"
#include "plan/layouts.h"
#include "plan/profiles.h"
#include "program.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Optimize : public testing::Test {
 protected:
  Optimize() {
    using plan::test::linear_rank;
    plan::Profile profile = plan::test::make_profile({linear_rank(64, 0.001, 1e-3), linear_rank(64, 0.001, 1e-3),
                                                      linear_rank(64, 0.001, 2e-3), linear_rank(64, 0.001, 4e-3)});
    profile.ranks[3].host = "slow";
    plan::write_profile(profile_, profile);
  }
  CommandResult optimize(const std::string& options) const {
    return run_lshdp("optimize " + profile_.string() + " --out " + out_.string() + " " + options);
  }
  void expect_refusal(const std::string& options, const std::string& message) const {
    const CommandResult result = optimize(options);
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.errors, HasSubstr(message));
    EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
    EXPECT_FALSE(std::filesystem::exists(out_));
  }

  TemporaryDirectory folder_;
  std::filesystem::path profile_ = folder_ / "profile.json";
  std::filesystem::path out_ = folder_ / "batches.json";
};

TEST_F(Optimize, RefusesAScaleThatIsNone) { expect_refusal("--total 88 --scale 64,0", "--scale"); }

TEST_F(Optimize, PredictsMoreRanksIfAsked) {
  const CommandResult result = optimize("--total 88 --scale 64,256");
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("1,408"), HasSubstr("5,632"), HasSubstr("100.0 %"), HasSubstr("Assumed")));
}

TEST_F(Optimize, WritesThePredictionsForMoreRanksWhereAsked) {
  const std::filesystem::path file = folder_ / "scale.json";
  ASSERT_EQ(optimize("--total 88 --scale 8,64 --scale-out " + file.string()).exit_code, 0);
  const Json points = read_json(file)["points"];
  ASSERT_EQ(points.size(), 2U);
  EXPECT_EQ(points[1]["ranks"], 64);
  EXPECT_EQ(points[1]["total"], 1408);
  EXPECT_EQ(points[1]["idle"], 0);
  EXPECT_GT(points[1]["predicted"]["step_seconds"], 0);
}

TEST_F(Optimize, WritesThePlanOfGivenBatchesWithItsPrediction) {
  const CommandResult result = optimize("--batches 31,33,16,8");
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, HasSubstr("times that of the solved split"));
  const plan::Plan given = plan::read_plan(out_);
  EXPECT_EQ(given.ranks[1].batch, 33);
  ASSERT_EQ(optimize("--total 88").exit_code, 0);
  EXPECT_GT(given.predicted.step_seconds, plan::read_plan(out_).predicted.step_seconds);
}

TEST_F(Optimize, BoundsTheTotalItChoosesAsToldAndRefusesBoundsThatAreNone) {
  ASSERT_EQ(optimize("--total-bound 1").exit_code, 0);
  const std::int64_t bound = plan::read_plan(out_).total;
  ASSERT_EQ(optimize("--total-bound 0").exit_code, 0);
  EXPECT_LE(bound, plan::read_plan(out_).total);
  std::filesystem::remove(out_);
  expect_refusal("--total-bound 0.5", "--total-bound");
  expect_refusal("--total-bound 2 --total 88", "--total-bound");
}

TEST_F(Optimize, RefusesGivenBatchesThatCannotBe) {
  expect_refusal("--batches 31,33,16,8 --total 87", "add up to 88, not to --total 87");
  expect_refusal("--batches 31,33,16", "batches");
  expect_refusal("--batches 31,33,16,8 --scale 64", "exclude each other");
  expect_refusal("--total 88 --scale-out scale.json", "--scale-out needs --scale");
}

TEST_F(Optimize, WritesThePlanAndShowsItBesideTheEqualSplit) {
  const CommandResult result = optimize("--total 88");
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const plan::Plan plan = plan::read_plan(out_);
  EXPECT_EQ(plan.total, 88);
  EXPECT_EQ(plan.ranks[0].batch, 32);
  EXPECT_EQ(plan.ranks[3].host, "slow");
  EXPECT_GT(plan.equal_split_step_seconds, 2 * plan.predicted.step_seconds);
  EXPECT_THAT(result.output,
              AllOf(HasSubstr("88 samples a step"), HasSubstr("1 x 32"), HasSubstr("slow"), HasSubstr("equal"),
                    HasSubstr("proportional to speed"), HasSubstr("compute of rank"), Not(HasSubstr("Other totals"))));
}

TEST_F(Optimize, WithoutATotalSaysWhatItChoseAndShowsTheFrontier) {
  const CommandResult result = optimize("--max-accumulation 2");
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("No --total: "), HasSubstr("at least 95 % of the most samples/s"),
                                   HasSubstr("4 times the"), HasSubstr("Other totals"), HasSubstr("<- this plan")));
  const std::string frontier = result.output.substr(result.output.find("Other totals"));
  EXPECT_LE(std::count(frontier.begin(), frontier.end(), '\n'), 15);
}

TEST_F(Optimize, SaysWhichRanksItTakesForEqual) {
  using plan::test::linear_rank;
  plan::write_profile(profile_, plan::test::make_profile({linear_rank(64, 0.001, 1e-3), linear_rank(64, 0.001, 1.02e-3),
                                                          linear_rank(64, 0.001, 2e-3)}));
  for (const char* options : {"--total 100", "--batches 40,40,20"}) {
    const CommandResult result = optimize(options);
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_THAT(result.output, HasSubstr("Ranks 0 and 1 measured alike (1.8 % apart): planned as equal."));
    EXPECT_EQ(plan::read_plan(out_).ranks[0].batch, plan::read_plan(out_).ranks[1].batch);
  }
}

TEST_F(Optimize, ChoosesSizesInFlightForTheMeasuredNetwork) {
  plan::Profile profile = plan::test::with_network(plan::read_profile(profile_), 1.17e8, 1'000'000);
  EXPECT_THAT(optimize("--total 88").output, Not(HasSubstr("Sizes in flight")));
  EXPECT_FALSE(plan::read_plan(out_).transfer);
  profile.network.latency_seconds = 2e-4;
  profile.network.messages = {{8192, 1.07e-3}, {524288, 5.48e-3}};
  plan::write_profile(profile_, profile);
  for (const char* options : {"--total 88", "--batches 32,32,16,8"}) {
    ASSERT_EQ(optimize(options).exit_code, 0);
    const auto transfer = plan::read_plan(out_).transfer;
    ASSERT_TRUE(transfer);
    EXPECT_EQ(transfer->segment_bytes, 256 << 10);
  }
  EXPECT_THAT(optimize("--total 88").output,
              HasSubstr("Sizes in flight for this network: segments of 256 KiB, 4 in flight, buckets of 256 KiB."));
}

TEST_F(Optimize, RefusesATotalThatCannotBeMet) {
  expect_refusal("--total 300 --max-accumulation 1", "at most 256 samples");
  expect_refusal("--total 0", "--total");
  expect_refusal("--total many", "--total");
}

TEST_F(Optimize, RefusesAProfileThatIsDamaged) {
  const std::string whole = read_file(profile_);
  write_file(profile_, whole.substr(0, whole.size() / 2));
  expect_refusal("", "not valid JSON");
  write_file(profile_, R"({"version": 9})");
  expect_refusal("", "version 9 is not supported");
  std::filesystem::remove(profile_);
  expect_refusal("", "cannot read");
}

TEST_F(Optimize, SaysWhereItCannotWrite) {
  out_ = profile_ / "batches.json";
  const CommandResult result = optimize("--total 88");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.errors, HasSubstr("--out: cannot create " + profile_.string() + ": Not a directory"));
}

/// A profile of a model by blocks, whose last one uses a parameter of the first.
class OptimizeLayout : public Optimize {
 protected:
  OptimizeLayout() {
    plan::Profile profile = plan::test::cluster_of({4, 2, 1}, {.blocks = 12, .parameters = 100'000}, 1e6);
    profile.blocks.back().shares_with = {0};
    plan::write_profile(profile_, profile);
  }
};

TEST_F(OptimizeLayout, WritesThePlannedLayoutAndTellsWhy) {
  const CommandResult result = optimize("--layout auto --total 32");
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("one pipeline"), HasSubstr("in flight"), HasSubstr("data parallel"),
                                   HasSubstr("bound by"), HasSubstr("No layout takes less than")));
  const plan::Layout layout = plan::read_layout(out_);
  EXPECT_EQ(layout.replicas.size(), 1U);
  EXPECT_EQ(layout.replicas[0].stages.front().rank, layout.replicas[0].stages.back().rank) << "comes back";
  EXPECT_GT(layout.predicted.step_seconds, 0);
  const std::filesystem::path again = folder_ / "again.json";
  const CommandResult given =
      run_lshdp("optimize " + profile_.string() + " --layout " + out_.string() + " --out " + again.string());
  ASSERT_EQ(given.exit_code, 0) << given.errors;
  EXPECT_NEAR(plan::read_layout(again).predicted.step_seconds, layout.predicted.step_seconds, 1e-9);
}

TEST_F(OptimizeLayout, TakesTheKindTheCutAndTheSchedule) {
  ASSERT_EQ(optimize("--layout data --total 32").exit_code, 0);
  EXPECT_TRUE(plan::is_data_parallel(plan::read_layout(out_)));
  ASSERT_EQ(optimize("--layout pipeline --stages uniform --pipeline-schedule gpipe --total 32").exit_code, 0);
  const plan::Layout uniform = plan::read_layout(out_);
  EXPECT_EQ(uniform.schedule, plan::PipelineSchedule::gpipe);
  EXPECT_EQ(uniform.replicas[0].stages[1].end - uniform.replicas[0].stages[1].start, 4U);
}

TEST_F(OptimizeLayout, RefusesWhatItCannotPlan) {
  expect_refusal("--layout pipeline", "--total");
  expect_refusal("--layout tensor --total 4", "'tensor' is no file; use data, pipeline, auto");
  expect_refusal("--layout auto --stages some --total 4", "--stages");
  expect_refusal("--stages uniform --total 4", "--layout");
  expect_refusal("--layout auto --batches 1,2,3", "--batches");
  expect_refusal("--layout auto --pipeline-schedule zb --total 4", "1f1b");
}

}  // namespace
}  // namespace lshdp::test
