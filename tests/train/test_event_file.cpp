// Event files, byte by byte as the tensorboard package of Python writes them, and what a run puts into them.
#include <algorithm>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "event_file.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "support/temporary_directory.h"
#include "tensorboard.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;

std::string hexadecimal(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return text;
}

// Written by tensorboard 2.20: tensorboard.summary.writer.record_writer.RecordWriter.
constexpr const char* kVersion = "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c";
constexpr const char* kStart = "100000000000000095fbfe1809000000000000f83f10ac023a020801713b788a";
constexpr const char* kScalars =
    "2b00000000000000861bc34b0900000840fc54d94110ab022a1d0a110a0a747261696e2f6c6f7373150000803e0a080a016115caf249f1f223"
    "55"
    "ea";

TEST(Crc32c, IsThatOfCastagnoli) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(""), 0U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);  // RFC 3720
}

TEST(EventFile, HasTheBytesOfTensorBoard) {
  EXPECT_EQ(hexadecimal(framed_record(version_event(1.5))), kVersion);
  EXPECT_EQ(hexadecimal(framed_record(start_event(1.5, 300))), kStart);
  const std::vector<Scalar> scalars{{"train/loss", 0.25}, {"a", -1e30}};
  EXPECT_EQ(hexadecimal(framed_record(scalars_event(1700000000.125, 299, scalars))), kScalars);
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
}

/// Records of a file, whose checksums are not looked at.
std::vector<std::string> records_of(const fs::path& file) {
  const std::string bytes = read_file(file);
  std::vector<std::string> records;
  for (std::size_t at = 0; at < bytes.size();) {
    const auto length = static_cast<unsigned char>(bytes[at]) + 256U * static_cast<unsigned char>(bytes[at + 1]);
    records.push_back(bytes.substr(at + 12, length));
    at += 12 + length + 4;
  }
  return records;
}

TEST(EventFile, IsThereAtOnceAndFollowsThoseBeforeIt) {
  const test::TemporaryDirectory folder;
  EventFile first(folder / "tensorboard", 1);
  first.add(1, std::vector<Scalar>{{"loss", 2}});
  EXPECT_EQ(records_of(files_in(folder / "tensorboard").at(0)).size(), 3U);
  const EventFile second(folder / "tensorboard", 2);  // in the same second, by the same process
  const std::vector<fs::path> files = files_in(folder / "tensorboard");
  ASSERT_EQ(files.size(), 2U);
  EXPECT_EQ(records_of(files[0]).size(), 3U);
  EXPECT_NE(records_of(files[1]).at(1).find(std::string("\x10\x02\x3a\x02\x08\x01")), std::string::npos);
}

TEST(EventFile, SaysWhyItCannotBeWritten) { EXPECT_THROW(EventFile("/dev/null/folder", 1), WriteError); }

std::vector<std::string> tags_of(const std::vector<Scalar>& scalars) {
  std::vector<std::string> tags;
  for (const Scalar& scalar : scalars) tags.push_back(scalar.tag);
  return tags;
}

TEST(TensorBoard, ShowsAStepByGroups) {
  StepRecord step;
  step.samples = 8;
  step.step_seconds = 0.5;
  step.compute_seconds = {0.25, 0.5};
  step.wait_seconds = {0.125, 0};
  EXPECT_EQ(tags_of(scalars_of(step)),
            (std::vector<std::string>{"train/loss", "train/learning_rate", "train/gradient_norm", "speed/step_seconds",
                                      "speed/samples_per_second", "compute_seconds/rank_0", "compute_seconds/rank_1",
                                      "wait_seconds/rank_0", "wait_seconds/rank_1"}));
  EXPECT_EQ(scalars_of(step)[4].value, 16);
  EXPECT_EQ(scalars_of(step)[6].value, 0.5);
  step.tokens = 128;
  step.model_flops_utilization = 0.25;
  EXPECT_EQ(scalars_of(step)[5].value, 256);
  EXPECT_EQ(scalars_of(step)[6].tag, "speed/model_flops_utilization");
}

TEST(TensorBoard, ShowsAnEvaluation) {
  EXPECT_EQ(tags_of(scalars_of(EvaluationRecord{3, 1, std::nullopt, 10})), std::vector<std::string>{"evaluation/loss"});
  EXPECT_EQ(scalars_of(EvaluationRecord{3, 1, 0.5, 10}).at(1).value, 0.5);
}

TEST(TensorBoard, ForgetsTheStepsThatALaunchRepeats) {
  const test::TemporaryDirectory folder;
  RunRecord resumed;
  resumed.resumed_after = 4;
  TensorBoard board(folder.path(), resumed);
  StepRecord step;
  step.step = 5;
  board.add(step);
  const std::vector<std::string> records = records_of(files_in(folder / "tensorboard").at(0));
  ASSERT_EQ(records.size(), 3U);
  EXPECT_NE(records[1].find("\x10\x05\x3a\x02\x08\x01"), std::string::npos);  // step 5, SessionLog.START
}

}  // namespace
}  // namespace lshdp::train
