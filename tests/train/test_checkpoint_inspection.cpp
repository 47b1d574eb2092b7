// Tests of checkpoints seen from outside: what is listed, and which damage is found.
#include <filesystem>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "checkpoint_manifest.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/train/checkpoint_inspection.h"
#include "parallel/models.h"
#include "rank_file.h"
#include "support/temporary_directory.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;
using parallel::StatePiece;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CheckpointInspection : public testing::Test {
 protected:
  /// Elements [begin, end) of a parameter.
  static StatePiece piece(const std::string& name, std::int64_t begin, std::int64_t end) {
    const at::Tensor values = at::arange(begin, end, at::kFloat);
    return {0, 0, name, begin, values, values + 1, values + 2};
  }
  /// All trained parameters, the first half of each.
  std::vector<StatePiece> first_halves(const model::Model& model) const { return parts(model, 0, 1); }
  std::vector<StatePiece> second_halves(const model::Model& model) const { return parts(model, 1, 2); }

  fs::path folder_of(int step) const { return checkpoint_folder(folder_.path(), step); }
  void write(int step, const model::Model& model, const std::vector<std::vector<StatePiece>>& ranks) const {
    const fs::path folder = folder_of(step);
    fs::create_directories(folder);
    Manifest manifest;
    manifest.info.step = step;
    manifest.info.total = 4;
    manifest.info.seed = 7;
    manifest.info.model = model.description;
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      const fs::path path = folder / rank_file_name(static_cast<int>(rank));
      RankFileWriter file(path, step);
      for (const StatePiece& part : ranks[rank]) file.write(part);
      file.commit();
      manifest.files.push_back(describe_file(path));
    }
    write_json(folder / kManifest, to_json(manifest));
  }
  void write_good(int step) const { write(step, model_, {first_halves(model_), second_halves(model_)}); }

  std::vector<std::string> damages(int step) const {
    const auto found = checkpoints_at(folder_of(step), "path");
    return verify_checkpoint(found.at(0), [](std::int64_t) {});
  }
  std::vector<std::string> states() const {
    std::vector<std::string> texts;
    for (const FoundCheckpoint& one : list_checkpoints(folder_.path(), "run"))
      texts.push_back(one.abandoned + std::to_string(one.step) + " " + to_text(one.state));
    return texts;
  }
  void flip_byte(const fs::path& path) const {
    std::string content = read_file(path);
    content[content.size() / 2] ^= 1;
    write_file(path, content);
  }
  void cut(const fs::path& path) const { write_file(path, read_file(path).substr(0, fs::file_size(path) / 2)); }

  const model::Model model_ = test::small_mlp();
  const std::string weight_ = model_.blocks[0]->parameters()[0].name;
  const test::TemporaryDirectory folder_;

 private:
  static std::vector<StatePiece> parts(const model::Model& model, std::int64_t first, std::int64_t last) {
    std::vector<StatePiece> pieces;
    for (const auto& block : model.blocks) {
      for (const model::Parameter& parameter : block->parameters()) {
        if (!parameter.trainable) continue;
        const std::int64_t half = parameter.count() / 2, cuts[] = {0, half, parameter.count()};
        pieces.push_back(piece(parameter.name, cuts[first], cuts[last]));
      }
    }
    return pieces;
  }
};

TEST_F(CheckpointInspection, FindsAllElementsHoweverTheyLieInFiles) {
  write_good(1);
  EXPECT_THAT(damages(1), IsEmpty());
  const std::vector<StatePiece> nothing{piece(weight_, 5, 5)};
  write(2, model_, {second_halves(model_), nothing, first_halves(model_)});
  EXPECT_THAT(damages(2), IsEmpty());
}

TEST_F(CheckpointInspection, AsksForWhatIsTrainedOnly) {
  const model::Model lora = test::small_gpt_lora();
  write(1, lora, {first_halves(lora), second_halves(lora)});
  EXPECT_THAT(damages(1), IsEmpty());
  auto more = second_halves(lora);
  more.push_back(piece("wte.weight", 0, 4));
  write(2, lora, {first_halves(lora), more});
  EXPECT_THAT(damages(2), ElementsAre(HasSubstr("wte.weight is no parameter that its model trains")));
}

TEST_F(CheckpointInspection, NamesElementsThatAreMissingOrThereTwice) {
  auto half = second_halves(model_);
  half[0] = piece(weight_, half[0].begin + 3, half[0].begin + half[0].value.numel());
  const std::int64_t middle = half[0].begin - 3;
  write(1, model_, {first_halves(model_), half});
  EXPECT_THAT(damages(1), ElementsAre(HasSubstr(weight_ + ": elements " + std::to_string(middle) + " to " +
                                                std::to_string(middle + 2) + " are missing")));
  half[0] = piece(weight_, middle - 2, 2 * middle);
  write(2, model_, {first_halves(model_), half});
  EXPECT_THAT(damages(2), ElementsAre(HasSubstr(weight_ + ": elements " + std::to_string(middle - 2) + " to " +
                                                std::to_string(middle - 1) + " are there twice")));
  half[0] = piece(weight_, middle, 2 * middle - 1);
  write(3, model_, {first_halves(model_), half});
  EXPECT_THAT(damages(3), ElementsAre(HasSubstr(" are missing")));
  half[0] = piece(weight_, middle, 2 * middle + 1);
  write(4, model_, {first_halves(model_), half});
  EXPECT_THAT(damages(4), ElementsAre(HasSubstr("elements, and not")));
  half[0] = piece(weight_, middle, 2 * middle);
  half[0].second_moment = half[0].second_moment.narrow(0, 0, 1);
  write(5, model_, {first_halves(model_), half});
  EXPECT_THAT(damages(5), ElementsAre(HasSubstr("has not one second_moment for each value of " + weight_)));
}

TEST_F(CheckpointInspection, NamesEveryFileThatIsNotWhatWasWritten) {
  write_good(1);
  flip_byte(folder_of(1) / "rank-0.h5");
  cut(folder_of(1) / "rank-1.h5");
  EXPECT_THAT(damages(1), ElementsAre(HasSubstr("rank-0.h5 is damaged"), HasSubstr("rank-1.h5 is cut off")));
  fs::remove(folder_of(1) / "rank-0.h5");
  EXPECT_THAT(damages(1), ElementsAre(HasSubstr("rank-0.h5 is missing"), HasSubstr("rank-1.h5 is cut off")));
  flip_byte(folder_of(1) / kManifest);
  EXPECT_THAT(damages(1), ElementsAre(HasSubstr("manifest.json")));
  write_file(folder_of(1) / kManifest, "");
  EXPECT_THAT(damages(1), ElementsAre(HasSubstr("manifest.json is empty")));
}

TEST_F(CheckpointInspection, ListsWhatLiesInARunDirectory) {
  EXPECT_THROW(list_checkpoints(folder_.path(), "run"), UsageError);
  for (const int step : {2, 10, 30}) write_good(step);
  fs::create_directories(folder_of(40));
  fs::create_directories(folder_ / "checkpoints/abandoned-1");
  fs::rename(folder_of(30), folder_ / "checkpoints/abandoned-1/step-30");
  cut(folder_of(10) / "rank-1.h5");
  EXPECT_THAT(states(), ElementsAre("abandoned-130 complete", "2 complete", "10 damaged", "40 unfinished"));
  const auto found = list_checkpoints(folder_.path(), "run");
  EXPECT_EQ(found[1].ranks, 2);
  EXPECT_GT(found[1].bytes, 1000);
  EXPECT_THAT(found[1].written, testing::MatchesRegex("20[0-9-]+T[0-9:]+Z"));
  EXPECT_THAT(found[2].problem, HasSubstr("rank-1.h5 has "));
  EXPECT_EQ(newest_checkpoint_at(folder_.path(), "path").step, 10);
  EXPECT_EQ(newest_checkpoint_at(folder_of(2), "path").step, 2);
  EXPECT_THROW(checkpoints_at(folder_of(40), "path"), UsageError);
  EXPECT_TRUE(is_still_there(found[1]));
  fs::remove_all(folder_of(2));
  EXPECT_FALSE(is_still_there(found[1]));
}

TEST_F(CheckpointInspection, TellsWhatTheManifestSays) {
  write_good(12);
  const Json said = describe_checkpoint(newest_checkpoint_at(folder_.path(), "path"));
  EXPECT_EQ(said["step"], 12);
  EXPECT_EQ(said["total"], 4);
  EXPECT_EQ(said["seed"], 7);
  EXPECT_EQ(said["model"], model_.description);
  EXPECT_EQ(said["mode"], "ddp");
  EXPECT_EQ(said["files"].size(), 2U);
  EXPECT_EQ(said["files"][1]["name"], "rank-1.h5");
  EXPECT_EQ(said["files"][1]["bytes"], fs::file_size(folder_of(12) / "rank-1.h5"));
}

TEST_F(CheckpointInspection, ThatLiesInTheFolderOfAnotherStepIsDamaged) {
  write_good(3);
  write_good(5);
  fs::rename(folder_of(3), folder_of(4));
  EXPECT_THAT(states(), ElementsAre("4 damaged", "5 complete"));
  EXPECT_THAT(damages(4), ElementsAre(HasSubstr("is in the wrong place: it is the checkpoint of step 3")));
}

/// What the system cannot read, as of a disk that fails, is damage. So is what is no file.
TEST_F(CheckpointInspection, ThatCannotBeReadIsDamaged) {
  for (const int step : {1, 2, 3, 4}) write_good(step);
  const auto replace = [](const fs::path& path, const fs::path& target) {
    fs::remove(path);
    fs::create_symlink(target, path);
  };
  replace(folder_of(1) / kManifest, "/proc/self/mem");  // an input/output error
  replace(folder_of(2) / "rank-0.h5", "/proc/self/mem");
  replace(folder_of(3) / "rank-0.h5", "rank-0.h5");  // a loop
  fs::remove(folder_of(4) / kManifest);
  ASSERT_EQ(::mkfifo((folder_of(4) / kManifest).c_str(), 0600), 0);
  EXPECT_THROW(read_manifest(folder_of(1)), DamagedCheckpoint);
  for (const int step : {2, 3}) {
    const Manifest manifest = read_manifest(folder_of(step));
    EXPECT_THROW(require_intact(folder_of(step), manifest, manifest.files.at(0)), DamagedCheckpoint) << step;
  }
  EXPECT_THROW(read_manifest(folder_of(4)), DamagedCheckpoint);
  for (const int step : {1, 2, 3, 4}) EXPECT_EQ(damages(step).size(), 1) << step;
}

/// Checkpoints may be there that cannot be seen: nothing may begin anew in their place.
TEST_F(CheckpointInspection, FoldersThatCannotBeLookedIntoAreAnError) {
  EXPECT_THAT(checkpoints_of(folder_.path()), IsEmpty());
  fs::create_symlink("not-mounted", folder_ / "checkpoints");
  EXPECT_THROW(checkpoints_of(folder_.path()), RunError);
  EXPECT_THROW(list_checkpoints(folder_.path(), "run"), RunError);
}

}  // namespace
}  // namespace lshdp::train
