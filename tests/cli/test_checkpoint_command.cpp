// lshdp checkpoint as users meet it: lists, descriptions, damage and exit codes, weights.
#include <filesystem>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "program.h"
#include "training_files.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class CheckpointCommand : public TrainingFixture<> {
 protected:
  std::string checkpoint(int step) const { return out(fmt::format("run/checkpoints/step-{}", step)); }
  /// A run with checkpoints of steps 2 and 4 in "run".
  void make_run(int ranks, const std::string& arguments, const std::string& model = "vit") const {
    const CommandResult result =
        run_lshdp_on(ranks, "train --log warn " + files_->options(model) +
                                " --steps 4 --checkpoint-every 2 --results " + out("run") + " " + arguments);
    ASSERT_EQ(result.exit_code, 0) << result.errors;
  }
  CommandResult command(const std::string& arguments, int code = 0) const {
    CommandResult result = run_lshdp("checkpoint " + arguments);
    EXPECT_EQ(result.exit_code, code) << arguments << "\n" << result.output;
    EXPECT_EQ(count_lines_with(result.errors, "lshdp checkpoint: "), code == 0 ? 0 : 1) << result.errors;
    return result;
  }
  void flip_byte(const std::string& path) const {
    std::string content = read_file(path);
    content[content.size() / 2] ^= 1;
    write_file(path, content);
  }
};

TEST_F(CheckpointCommand, ListsAndDescribesTheCheckpointsOfARun) {
  make_run(2, "--batches 12,4 --lr 0.002");
  fs::create_directories(out("run/checkpoints/step-9"));
  write_file(checkpoint(2) + "/manifest.json", "{");
  const CommandResult list = command("list " + out("run") + " --json " + out("list.json"));
  EXPECT_THAT(list.output, testing::ContainsRegex("2 .* damaged .*manifest.json"));
  EXPECT_THAT(list.output, testing::ContainsRegex("4 .* 2 +complete"));
  EXPECT_THAT(list.output, testing::ContainsRegex("9 .* unfinished"));
  const Json listed = read_json(out("list.json"));
  ASSERT_EQ(listed["checkpoints"].size(), 3U);
  EXPECT_EQ(listed["checkpoints"][1]["state"], "complete");
  EXPECT_EQ(listed["checkpoints"][1]["ranks"], 2);
  EXPECT_EQ(listed["checkpoints"][1]["abandoned"], nullptr);
  const CommandResult info = command("info " + out("run") + " --json " + out("info.json"));
  EXPECT_THAT(info.output, AllOf(HasSubstr("step-4"), HasSubstr("--lr 0.002"), HasSubstr("rank-1.h5"),
                                 HasSubstr("count 100"), HasSubstr("hidden_dim 16")));
  EXPECT_EQ(read_json(out("info.json"))["training"]["--lr"], 0.002);
  command("info " + checkpoint(2), 2);
}

TEST_F(CheckpointCommand, VerifiesRunsOfEveryMode) {
  for (const std::string mode : {"--mode ddp --batches 4,0,9", "--mode fsdp --offload --batches 4,0,9",
                                 "--mode lsdp --batches 4,4,5", "--lora r=2,alpha=2,targets=c_attn --batches 4,4,5"}) {
    make_run(3, mode, "gpt");
    const CommandResult good = command("verify " + out("run"));
    EXPECT_EQ(count_lines_with(good.output, "good step-"), 2) << mode << good.output;
    fs::remove_all(out("run"));
  }
}

TEST_F(CheckpointCommand, NamesEachDamageAndEndsWith1) {
  make_run(2, "--batches 8,8");
  fs::create_directories(out("run/checkpoints/step-9"));
  flip_byte(checkpoint(2) + "/rank-0.h5");
  fs::remove(checkpoint(2) + "/rank-1.h5");
  const CommandResult run = command("verify " + out("run"), 1);
  EXPECT_EQ(count_lines_with(run.output, "damaged step-2: "), 2) << run.output;
  EXPECT_THAT(run.output, AllOf(HasSubstr("step-2/rank-0.h5 is damaged"), HasSubstr("step-2/rank-1.h5 is missing"),
                                HasSubstr("good step-4: 2 files"), HasSubstr("unfinished step-9")));
  EXPECT_THAT(run.errors, HasSubstr("1 of 2 checkpoints is damaged"));
  command("verify " + checkpoint(4));
  fs::create_directories(out("run/checkpoints/abandoned-1"));
  fs::rename(checkpoint(2), out("run/checkpoints/abandoned-1/step-2"));
  EXPECT_THAT(command("verify " + out("run"), 1).output, HasSubstr("damaged abandoned-1/step-2: "));
}

TEST_F(CheckpointCommand, RefusesWhatIsNoCheckpoint) {
  fs::create_directories(out("run/checkpoints/step-9"));
  for (const std::string& path : {out("nothing"), out(""), out("run"), checkpoint(9)}) {
    command("verify " + path, 2);
    command("info " + path, 2);
  }
  command("list " + out("nothing"), 2);
  command("list " + out("run"));
  EXPECT_THAT(command("lists", 2).errors, HasSubstr("did you mean list?"));
  EXPECT_THAT(command("", 2).errors, HasSubstr("choose from list, info, verify, export"));
  EXPECT_THAT(command("--help").output, AllOf(HasSubstr("verify"), HasSubstr("lshdp checkpoint list runs/first")));
}

TEST_F(CheckpointCommand, ExportsTheWeights) {
  make_run(2, "--batches 8,8");
  command("export " + checkpoint(4) + " --out " + out("w.safetensors"));
  EXPECT_EQ(run_lshdp("export " + checkpoint(4) + " --out " + out("same.safetensors")).exit_code, 0);
  EXPECT_EQ(read_file(out("w.safetensors")), read_file(out("same.safetensors")));
  EXPECT_EQ(command("export " + checkpoint(4) + " --out " + out("w.safetensors"), 2).exit_code, 2);
}

}  // namespace
}  // namespace lshdp::test
