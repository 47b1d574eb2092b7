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
#include "lshdp/train/rebalancing.h"
#include "lshdp/train/step_log.h"
#include "support/temporary_directory.h"

namespace lshdp::train {
namespace {

RunRecord run_of_two() {
  return {"m",
          "ddp",
          "fp32",
          "exact",
          8,
          {{0, "a", 6, 10, 1.0}, {1, "b", 2, 4, 0.5}},
          plan::Prediction{0.9, 8.9, {}, 0, 0}};
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
  MetricsWriter writer(folder.path(), run_of_two(), 0);
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
    MetricsWriter writer(folder.path(), run_of_two(), 0);
    for (std::int64_t s = 1; s <= 5; ++s) writer.add(step(s, 1));
  }
  LineWriter(folder / "metrics.jsonl", true).write("{\"record\":\"st");  // cut off by a crash
  MetricsWriter writer(folder.path(), run_of_two(), 3);
  writer.add(step(4, 1));
  const std::vector<Json> lines = lines_of(folder / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 5U);
  for (std::size_t i = 1; i < 5; ++i) EXPECT_EQ(lines[i]["step"], i);
}

TEST(Metrics, TellsWhatRebalancingChanged) {
  const test::TemporaryDirectory folder;
  MetricsWriter writer(folder.path(), run_of_two(), 0);
  writer.add(RebalanceRecord{7, {6, 2}, {5, 3}, {1, 1}, {1.5, 1}, 0.9, 0.75});
  const Json line = lines_of(folder / "metrics.jsonl").at(1);
  EXPECT_EQ(line["record"], "rebalance");
  EXPECT_EQ(line["step"], 7);
  EXPECT_EQ(line["batches"], Json({5, 3}));
  EXPECT_EQ(line["slowness"][0], 1.5);
  EXPECT_EQ(writer.summary(1)["rebalances"].at(0), line);
}

TEST(RebalanceLine, SaysWhatMovedAndWhatItIsExpectedToGain) {
  EXPECT_EQ(describe(RebalanceRecord{7, {6, 2}, {5, 3}, {1, 1}, {1.5, 1}, 0.9, 0.72}),
            "rebalanced from step 7 on: rank 0 computes 1.50 times as long as profiled (before 1.00); batches 6,2 -> "
            "5,3; step 900 ms -> 720 ms expected (20 % less)");
}

TEST(Metrics, SummarisesWithoutTheWarmUp) {
  MetricsWriter writer("", run_of_two(), 0);
  writer.add(step(1, 100));
  for (std::int64_t s = 2; s <= 10; ++s) writer.add(step(s, s == 10 ? 4 : 1));
  const Json summary = writer.summary(42);
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
  MetricsWriter writer(folder.path(), run_of_two(), 0);
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
  EXPECT_EQ(writer.summary(1)["skipped_steps"], 1);
  EXPECT_EQ(skipped_line(skipped), "step 1 skipped: gradients overflow in fp16; loss scale now 32768");
}

TEST(Metrics, SaysWhyAFileCannotBeWritten) {
  EXPECT_THROW(MetricsWriter("/nonexistent/folder", run_of_two(), 0), Error);
}

TEST(Median, IsTheMiddleOrTheMeanOfTheTwoMiddleValues) {
  EXPECT_DOUBLE_EQ(median({3, 1, 2}), 2);
  EXPECT_DOUBLE_EQ(median({4, 1, 3, 2}), 2.5);
  EXPECT_DOUBLE_EQ(median({}), 0);
}

TEST(StepLine, ReadsAtAGlance) {
  EXPECT_EQ(step_line(step(2, 0.5), 100),
            "step   2/100 | loss 1.0000 | norm 0 | lr 0.00e+00 | 500 ms | 16 samples/s | compute 100 % wait 25 %");
}

}  // namespace
}  // namespace lshdp::train
