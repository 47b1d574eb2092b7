// Readers of checkpoints: the manifest, and a rank's file. Checksums are made right, as whoever makes a file can do.
#include <filesystem>
#include <fstream>
#include <tuple>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "checkpoint.h"
#include "checkpoint_manifest.h"
#include "hdf5_content.h"
#include "lshdp/core/checksum.h"
#include "lshdp/core/file.h"
#include "rank_file.h"
#include "reader.h"
#include "scratch_file.h"
#include "settings.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRankFile = "rank-0.h5";
constexpr std::int64_t kStep = 3;

std::vector<Json> manifests() {
  const TemporaryDirectory folder;
  write_file(folder / kRankFile, "state");
  train::Manifest manifest{.info = {.step = kStep,
                                    .total = 4,
                                    .seed = 7,
                                    .strategy = {},
                                    .model = {{"type", "mlp"}},
                                    .training = {{"--lr", "0.01"}},
                                    .data = {{"count", 3}, {"checksum", "1"}, {"mean", {0.5}}, {"deviation", {1}}},
                                    .program = "lshdp"},
                           .files = {train::describe_file(folder / kRankFile)},
                           .loss_scale = {}};
  const Json plain = train::to_json(manifest);
  manifest.info.strategy.precision = plan::Precision::fp16;
  return {plain, train::to_json(manifest)};
}

std::string checksum_of(const std::string& text) {
  Checksum checksum;
  checksum.add(std::as_bytes(std::span(text)));
  return checksum.text();
}

/// A folder with the file that the manifests name.
class CheckpointFolder {
 public:
  CheckpointFolder() { write_file(folder_ / kRankFile, "state"); }
  const fs::path& path() const { return folder_.path(); }
  /// Not flushed to the disk, for which a test of a reader need not wait.
  void write_manifest(const std::string& text) const {
    std::ofstream(folder_ / train::kManifest, std::ios::binary) << text;
  }

 private:
  TemporaryDirectory folder_;
};

void read_manifest(const Json& json) {
  static const CheckpointFolder checkpoint;
  Json manifest = json;
  if (manifest.is_object()) {
    manifest.erase("checksum");
    manifest["checksum"] = checksum_of(json_text(manifest));
  }
  checkpoint.write_manifest(json_text(manifest, 2) + "\n");  // as write_json
  const train::Manifest read = train::read_manifest(checkpoint.path());
  EXPECT_EQ(train::to_json(read).at("files").size(), read.files.size());
  EXPECT_TRUE(train::changes_since(read.info, read.info).empty());
  train::CheckpointInfo other = read.info;
  other.data = {{"count", 4}, {"checksum", "1"}, {"mean", {0.25}}, {"deviation", {1}}};
  train::changes_since(read.info, other);
  for (const train::StoredFile& file : read.files) train::require_intact(checkpoint.path(), read, file);
  train::read_checkpoint_info(checkpoint.path());
}

/// Elements [begin, begin + count) of a parameter, all 7.
parallel::StatePiece piece(const std::string& name, std::int64_t begin, std::int64_t count) {
  const auto values = [&] { return at::full({count}, 7, at::kFloat); };
  return {0, 0, name, begin, values(), values(), values()};
}

/// Elements 2 to 4 of one parameter, and all of another.
std::vector<Json> rank_files() {
  Json content = {{{"attribute", "step"}, {"of", "/"}, {"type", "i64"}, {"value", kStep}}};
  for (const auto& [name, begin, count] : {std::tuple("0.weight", 2, 3), std::tuple("a%2Fb", 0, 1)}) {
    content.push_back({{"group", name}});
    content.push_back({{"attribute", "begin"}, {"of", name}, {"type", "i64"}, {"value", begin}});
    for (const char* array : {"/value", "/first_moment", "/second_moment"})
      content.push_back(
          {{"array", name + std::string(array)}, {"type", "f32"}, {"shape", {count}}, {"value", 7}, {"written", true}});
  }
  return {content};
}

void read_rank_file(const Json& content) {
  const ScratchFile file("");
  write_hdf5(content, file.path());
  const std::vector<parallel::StatePiece> pieces{piece("0.weight", 0, 6), piece("a/b", 0, 1)};
  std::vector<std::vector<train::ElementRun>> filled(pieces.size());
  train::read_rank_file(file.path(), kStep, pieces, filled);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    for (const train::ElementRun& run : filled[i]) EXPECT_LE(run.end - run.begin, pieces[i].value.numel());
  }
  for (const auto& [parameter, runs] : train::runs_in_rank_file(file.path())) train::gap_in(runs, {0, 6});
}

}  // namespace

std::vector<Reader> readers() {
  return {json_reader("Manifest", manifests, read_manifest), json_reader("RankFile", rank_files, read_rank_file)};
}

}  // namespace lshdp::test
