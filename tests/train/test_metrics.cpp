// Tests of metrics.jsonl and summary.json.
#include <cmath>
#include <limits>
#include <sstream>

#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/median.h"
#include "lshdp/train/metrics.h"
#include "rebalancing.h"
#include "step_log.h"
#include "support/temporary_directory.h"

namespace lshdp::train {
namespace {

RunRecord run_of_two() {
  return {"m", plan::Strategy{}, 8, {{0, "a", 6, 10, 1.0}, {1, "b", 2, 4, 0.5}}, plan::Prediction{0.9, 8.9, {}, 0, 0}};
}

StepRecord step(std::int64_t number, double seconds) {
  return {.step = number,
          .loss = 2.0 / static_cast<double>(number),
          .samples = 8,
          .step_seconds = seconds,
          .batches = {6, 2},
          .compute_seconds = {0.5, 0.25},
          .communication_seconds = {0.1, 0.2},
          .wait_seconds = {0.0, 0.125},
          .cpu_seconds = {0.5, 0.25},
          .communication_cpu_seconds = {0.0625, 0.03125}};
}

std::vector<Json> lines_of(const std::filesystem::path& path) {
  std::istringstream lines(read_file(path));
  std::vector<Json> records;
  for (std::string line; std::getline(lines, line);) records.push_back(Json::parse(line));
  return records;
}

TEST(Metrics, WritesTheRunThenEachRecordAsALine) {
  const test::TemporaryDirectory folder;
  MetricsWriter writer(folder.path(), run_of_two());
  writer.add(step(1, 1));
  writer.add(EvaluationRecord{1, 0.5, 0.75, 100});
  const std::vector<Json> lines = lines_of(folder / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0]["record"], "run");
  EXPECT_EQ(lines[0]["ranks"][1]["batch"], 2);
  EXPECT_EQ(lines[1]["step"], 1);
  EXPECT_EQ(lines[1]["samples_per_second"], 8);
  EXPECT_EQ(lines[1]["batches"][0], 6);
  EXPECT_EQ(lines[2]["accuracy"], 0.75);
}

TEST(Metrics, ContinuesAfterTheResumedStep) {
  const test::TemporaryDirectory folder;
  {
    MetricsWriter writer(folder.path(), run_of_two());
    for (std::int64_t s = 1; s <= 5; ++s) writer.add(step(s, 1));
  }
  LineWriter(folder / "metrics.jsonl", true).write("{\"record\":\"st");  // cut off by a crash
  RunRecord on_one = run_of_two();
  on_one.ranks.pop_back();
  on_one.resumed_after = 3;
  MetricsWriter writer(folder.path(), on_one);
  writer.add(step(4, 1));
  const std::vector<Json> lines = lines_of(folder / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 6U);
  for (const std::size_t i : {1, 2, 3}) EXPECT_EQ(lines[i]["step"], i);
  EXPECT_EQ(lines[0]["ranks"].size(), 2U);  // steps 1 to 3 keep the launch they are of
  EXPECT_EQ(lines[4]["record"], "run");
  EXPECT_EQ(lines[4]["ranks"].size(), 1U);
  EXPECT_EQ(lines[4]["resumed_after"], 3);
  EXPECT_EQ(lines[5]["step"], 4);
}

TEST(Metrics, DropsLinesThatAreNoRecordsWhereItContinues) {
  const test::TemporaryDirectory folder;
  RunRecord resumed = run_of_two();
  resumed.resumed_after = 3;
  MetricsWriter(folder.path(), run_of_two()).add(step(3, 1));
  LineWriter damaged(folder / "metrics.jsonl", true);
  for (const char* line : {"[1]", R"({"record": 5})", R"({"record": "step", "step": "two"})", R"({"step": 1.5})"})
    damaged.write(line);
  MetricsWriter again(folder.path(), resumed);
  EXPECT_EQ(lines_of(folder / "metrics.jsonl").size(), 3U);  // launch, step 3, launch
}

TEST(Metrics, ForgetsALaunchThatMadeNoStepThatIsKept) {
  const test::TemporaryDirectory folder;
  RunRecord resumed = run_of_two();
  resumed.resumed_after = 3;
  MetricsWriter(folder.path(), run_of_two()).add(step(3, 1));
  MetricsWriter(folder.path(), resumed).add(step(4, 1));
  MetricsWriter again(folder.path(), resumed);
  EXPECT_EQ(lines_of(folder / "metrics.jsonl").size(), 3U);  // launch, step 3, launch
}

TEST(Metrics, SaysWhenEachRecordWasMade) {
  const test::TemporaryDirectory folder;
  RunRecord run = run_of_two();
  run.time = "2026-11-27T05:39:47.123Z";
  StepRecord first = step(1, 1);
  first.time = "2026-11-27T05:39:48.123Z";
  MetricsWriter writer(folder.path(), run);
  writer.add(first);
  writer.add(EvaluationRecord{1, 0.5, 0.75, 100});
  const std::vector<Json> lines = lines_of(folder / "metrics.jsonl");
  EXPECT_EQ(lines[0]["time"], run.time);
  EXPECT_EQ(lines[1]["time"], first.time);
  EXPECT_GT(lines[2]["time"].get<std::string>(), first.time);
}

TEST(Metrics, CountsTokensOfText) {
  RunRecord run = run_of_two();
  run.tokens_per_sample = 16;
  MetricsWriter writer("", run);
  writer.add(step(1, 0.5));
  EXPECT_DOUBLE_EQ(writer.summary(1, true)["tokens_per_second"], 256);
  EXPECT_TRUE(MetricsWriter("", run_of_two()).summary(1, true)["tokens_per_second"].is_null());
}

TEST(Metrics, TellsOfMemoryTrafficAndTokensWhereTheyAreKnown) {
  RunRecord run = run_of_two();
  run.last_step = 90;
  run.ranks[0].memory_bytes = 4096;
  EXPECT_EQ(to_json(run)["last_step"], 90);
  EXPECT_EQ(to_json(run)["ranks"][0]["memory_bytes"], 4096);
  StepRecord record = step(1, 0.5);
  for (const char* key : {"bytes_sent", "peak_tensor_bytes", "tokens_per_second", "model_flops_utilization"})
    EXPECT_FALSE(to_json(record).contains(key)) << key;
  record.bytes_sent = {10, 20};
  record.peak_tensor_bytes = {1000, 2000};
  record.tokens = 128;
  const Json json = to_json(record);
  EXPECT_EQ(json["bytes_sent"], Json({10, 20}));
  EXPECT_EQ(json["peak_tensor_bytes"], Json({1000, 2000}));
  EXPECT_EQ(json["tokens_per_second"], 256);
}

TEST(Metrics, TellTheUtilizationOnlyWhereAllPeaksAreKnown) {
  RunRecord run = run_of_two();
  run.flops_per_sample = 1e9;
  run.ranks[0].peak_flops = 3e10;
  const StepRecord record = step(1, 0.5);  // 8 samples
  EXPECT_FALSE(model_flops_utilization(run, record));
  run.ranks[1].peak_flops = 1e10;
  EXPECT_DOUBLE_EQ(model_flops_utilization(run, record).value(), 0.4);
  run.flops_per_sample = 0;
  EXPECT_FALSE(model_flops_utilization(run, record));
}

TEST(Metrics, TellsWhatRebalancingChanged) {
  const test::TemporaryDirectory folder;
  MetricsWriter writer(folder.path(), run_of_two());
  writer.add(RebalanceRecord{7, {6, 2}, {5, 3}, {1, 1}, {1.5, 1}, 0.9, 0.75});
  const Json line = lines_of(folder / "metrics.jsonl").at(1);
  EXPECT_EQ(line["record"], "rebalance");
  EXPECT_EQ(line["step"], 7);
  EXPECT_EQ(line["batches"], Json({5, 3}));
  EXPECT_EQ(line["slowness"][0], 1.5);
  Json rebalance = line;
  rebalance.erase("time");
  EXPECT_EQ(writer.summary(1, true)["rebalances"].at(0), rebalance);
}

TEST(RebalanceLine, SaysWhatMovedAndWhatItIsExpectedToGain) {
  EXPECT_EQ(describe(RebalanceRecord{7, {6, 2}, {5, 3}, {1, 1}, {1.5, 1}, 0.9, 0.72}),
            "rebalanced from step 7 on: rank 0 computes 1.50 times as long as profiled (before 1.00); batches 6,2 -> "
            "5,3; step 900 ms -> 720 ms expected (20 % less)");
}

TEST(Metrics, SummarisesWithoutTheWarmUp) {
  MetricsWriter writer("", run_of_two());
  writer.add(step(1, 100));
  for (std::int64_t s = 2; s <= 10; ++s) writer.add(step(s, s == 10 ? 4 : 1));
  const Json summary = writer.summary(42, false);
  EXPECT_EQ(summary["finished"], false);
  EXPECT_DOUBLE_EQ(summary["step_seconds"]["median"], 1);
  EXPECT_DOUBLE_EQ(summary["step_seconds"]["mean"], 12.0 / 9);
  EXPECT_NEAR(summary["prediction_error"].get<double>(), -0.1, 1e-12);
  EXPECT_EQ(summary["samples"], 80);
  EXPECT_DOUBLE_EQ(summary["ranks"][1]["wait_seconds"], 0.125);
  EXPECT_DOUBLE_EQ(summary["ranks"][0]["cpu_seconds"], 0.5);
  EXPECT_DOUBLE_EQ(summary["ranks"][1]["communication_cpu_seconds"], 0.03125);
  EXPECT_TRUE(summary["evaluation"].is_null());
}

TEST(Metrics, WritesWhatJsonCannotHoldAsNull) {
  StepRecord record = step(1, 1);
  record.loss = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(to_json(record)["loss"].is_null());
}

TEST(Metrics, TellsOfStepsThatFp16Skipped) {
  const test::TemporaryDirectory folder;
  MetricsWriter writer(folder.path(), run_of_two());
  StepRecord skipped = step(1, 1), good = step(2, 1);
  skipped.gradient_norm = std::numeric_limits<double>::infinity();
  skipped.loss_scale = 65536;
  skipped.skipped = true;
  good.loss_scale = 32768;
  writer.add(skipped);
  writer.add(good);
  writer.add(step(3, 1));
  const std::vector<Json> lines = lines_of(folder / "metrics.jsonl");
  EXPECT_EQ(lines.at(1)["skipped"], true);
  EXPECT_EQ(lines.at(1)["loss_scale"], 65536);
  EXPECT_TRUE(lines.at(1)["gradient_norm"].is_null());
  EXPECT_EQ(lines.at(2)["skipped"], false);
  EXPECT_EQ(lines.at(2)["loss_scale"], 32768);
  EXPECT_FALSE(lines.at(3).contains("loss_scale"));
  EXPECT_EQ(writer.summary(1, true)["skipped_steps"], 1);
  EXPECT_EQ(skipped_line(skipped), "step 1 skipped: gradients overflow in fp16; loss scale now 32768");
}

TEST(Metrics, SaysWhyAFileCannotBeWritten) { EXPECT_THROW(MetricsWriter("/nonexistent/folder", run_of_two()), Error); }

TEST(Median, IsTheMiddleOrTheMeanOfTheTwoMiddleValues) {
  EXPECT_DOUBLE_EQ(median({3, 1, 2}), 2);
  EXPECT_DOUBLE_EQ(median({4, 1, 3, 2}), 2.5);
  EXPECT_DOUBLE_EQ(median({}), 0);
}

TEST(StepLine, ReadsAtAGlance) {
  StepRecord record = step(2, 0.5);
  record.compute_seconds = {0.25, 0.55};
  record.rank_seconds = {0.5, 0.6};
  EXPECT_EQ(step_line(record, {.last = 100}),
            "step   2/100 | loss 1.0000 | norm 0 | lr 0.00e+00 | 500 ms | 16 samples/s | slowest rank 1 computes 92 %");
  EXPECT_EQ(
      step_line(record, {.last = 100, .tokens_per_sample = 1024, .seconds_left = 49, .time_of_day = "14:03:10"}),
      "step   2/100 | loss 1.0000 | norm 0 | lr 0.00e+00 | 500 ms | 16,384 tokens/s | slowest rank 1 computes 92 % | "
      "49 s left | 14:03:10");
}

TEST(StepLine, SaysWhichRankIsFullestAndWhenTheRunEnds) {
  StepRecord record = step(1, 0.5);
  record.peak_tensor_bytes = {3 << 20, 2 << 20};
  record.model_flops_utilization = 0.4125;
  EXPECT_EQ(step_line(record, {.last = 9,
                               .seconds_left = 400,
                               .end = "14:09",
                               .time_of_day = "14:03:10",
                               .memory_bytes = {9 << 20, 4 << 20}}),
            "step 1/9 | loss 2.0000 | norm 0 | lr 0.00e+00 | 500 ms | 16 samples/s | MFU 41.2 % | slowest rank 0 "
            "computes 100 % | fullest rank 1 had 2.00 MiB of 4.00 MiB | 6 min left, until 14:09 | 14:03:10");
  record.peak_tensor_bytes = {3 << 20};
  record.compute_seconds = {0.5};
  record.model_flops_utilization.reset();
  EXPECT_EQ(step_line(record, {.last = 9, .memory_bytes = {9 << 20}}),
            "step 1/9 | loss 2.0000 | norm 0 | lr 0.00e+00 | 500 ms | 16 samples/s | memory 3.00 MiB of 9.00 MiB");
}

TEST(StepLine, SaysHowLongIsLeft) {
  const auto left = [](double seconds) {
    const std::string line = step_line(step(1, 1), {.last = 9, .seconds_left = seconds});
    return line.substr(line.rfind("| ") + 2);
  };
  EXPECT_EQ(left(119), "119 s left");
  EXPECT_EQ(left(725), "12 min left");
  EXPECT_EQ(left(3 * 3600 + 20 * 60 + 5), "3 h 20 min left");
  EXPECT_EQ(left(2 * 86400 + 4 * 3600), "2 d 4 h left");
}

TEST(StepLine, KeepsSmallRatesAndSharesWithinAStep) {
  StepRecord slow = step(1, 40);
  slow.compute_seconds = {41, 1};
  slow.rank_seconds = {40, 40};
  EXPECT_EQ(step_line(slow, {.last = 1}),
            "step 1/1 | loss 2.0000 | norm 0 | lr 0.00e+00 | 40 s | 0.2 samples/s | slowest rank 0 computes 100 %");
  slow.compute_seconds = {41};
  EXPECT_EQ(step_line(slow, {.last = 1}), "step 1/1 | loss 2.0000 | norm 0 | lr 0.00e+00 | 40 s | 0.2 samples/s");
}

}  // namespace
}  // namespace lshdp::train
