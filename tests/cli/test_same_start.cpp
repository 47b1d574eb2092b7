// Ranks that would start from different things are refused before the first step, with what differs and where.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "lshdp/core/file.h"
#include "program.h"
#include "training_files.h"
#include "weights.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

/// Two ranks, each with a folder, and maybe options, of its own.
class SameStart : public TrainingFixture<> {
 protected:
  void SetUp() override {
    for (const char* rank : {"0", "1"}) {
      fs::create_directory(folder_ / rank);
      for (const char* name : {"vit.json", "vit.h5"}) fs::copy_file(files_->path(name), folder_ / rank / name);
    }
  }

  std::string at(int rank, const std::string& name) const {
    return (folder_.path() / std::to_string(rank) / name).string();
  }
  /// `lshdp COMMAND ARGUMENTS` on both, in their folders.
  CommandResult run(const std::string& command, const std::string& of_rank_0, const std::string& of_rank_1) const {
    std::string line = mpirun_line(1) + " -wdir " + at(0, "") + " " + lshdp_binary() + " " + command + " " + of_rank_0;
    line += " : -np 1 -wdir " + at(1, "") + " " + lshdp_binary() + " " + command + " " + of_rank_1;
    return run_command(line, 60);
  }
  CommandResult train(const std::string& more, const std::string& of_rank_1 = "") const {
    const std::string arguments = "--model vit.json --data vit.h5 --steps 2 --batches 2,2 " + more;
    return run("train", arguments, arguments + " " + of_rank_1);
  }
  void refused(const CommandResult& result, const std::string& what) const {
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_EQ(count_lines_with(result.errors, "lshdp"), 1) << result.errors;
    EXPECT_THAT(result.errors, HasSubstr(what));
    EXPECT_THAT(result.errors, Not(HasSubstr("MPI_ABORT")));
  }
};

TEST_F(SameStart, EqualRanksInFoldersOfTheirOwnTrain) {
  const CommandResult result = train("");
  EXPECT_EQ(result.exit_code, 0) << result.output;
}

TEST_F(SameStart, AnOptionOfOneRank) {
  refused(train("--lr 1e-3", "--seed 4"), "ranks differ: --seed is 0 on rank 0 (");
  refused(train("", "--flip"), "--flip is absent on rank 0 (");
  const std::string files = "--model vit.json --data vit.h5";
  refused(run("profile", files + " --max 2", files + " --max 4"), "--max is 2 on rank 0 (");
  refused(run("memory", "--model vit.json --batch 4", "--model vit.json --batch 8"), "--batch is 4 on rank 0 (");
  refused(run("max-batch", "--model vit.json --max 4", "--model vit.json --max 8"), "--max is 4 on rank 0 (");
}

TEST_F(SameStart, ANumberThatIsWrittenInAnotherWayIsTheSame) {
  const std::string first = "--seed 1 --lr 1e-3 --memory 256MiB --batches 2,2 --checkpoint-every 90s --results " +
                            (folder_ / "run").string(),
                    same =
                        "--seed 01 --lr 0.001 --memory 262144KiB --batches '2, 02' --checkpoint-every 1.5min "
                        "--results " +
                        (folder_ / "run").string();
  const std::string common = "--model vit.json --data vit.h5 --steps 2 ";
  const CommandResult result = run("train", common + first, common + same);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  refused(run("train", common + "--batches 2,2 --lr 1e-3", common + "--batches 2,2 --lr 2e-3"),
          "ranks differ: --lr is 0.001 on rank 0 (");
}

TEST_F(SameStart, AnotherCommand) {
  const std::string files = "--model vit.json --data vit.h5 ";
  const auto mixed = [&](const std::string& of_rank_0, const std::string& of_rank_1) {
    return run_command(mpirun_line(1) + " -wdir " + at(0, "") + " " + lshdp_binary() + " " + of_rank_0 +
                           " : -np 1 -wdir " + at(1, "") + " " + lshdp_binary() + " " + of_rank_1,
                       60);
  };
  const std::string train = "train --steps 2 --batches 2,2 " + files, profile = "profile " + files;
  const CommandResult two = mixed(train, profile);
  refused(two, "ranks differ: the command is train on rank 0 (");
  EXPECT_THAT(two.errors, HasSubstr(", profile on rank 1 ("));
  EXPECT_THAT(two.errors, Not(HasSubstr("--steps")));
  refused(mixed(profile, "check"), "the command is profile on rank 0 (");
  refused(mixed("train --help", train), "the command is help on rank 0 (");
  refused(mixed(train, "help train"), "the command is train on rank 0 (");
  refused(mixed(train, "--version"), ", --version on rank 1 (");
  refused(mixed("train --help", "train --nonsense"), "unknown option '--nonsense'");
  EXPECT_EQ(mixed("train --help", "data --help").exit_code, 0);
}

TEST_F(SameStart, AnotherDataSetUnderTheSameName) {
  const CommandResult made = run_lshdp(
      "data synthetic-images --count 90 --channels 1 --size 8 --classes 5 --seed 1 --out " + at(1, "other.h5"));
  ASSERT_EQ(made.exit_code, 0) << made.output;
  fs::rename(at(1, "other.h5"), at(1, "vit.h5"));
  refused(train(""), "ranks differ: --data vit.h5 is 100 images");
  fs::copy_file(at(0, "vit.h5"), at(0, "test.h5"));
  fs::rename(at(1, "vit.h5"), at(1, "test.h5"));
  fs::copy_file(at(0, "vit.h5"), at(1, "vit.h5"));
  refused(train("--eval-data test.h5"), "--eval-data test.h5 is 100 images");
}

TEST_F(SameStart, ADataSetThatOnlyOneRankHas) {
  fs::remove(at(1, "vit.h5"));
  refused(train(""), "rank 1 (");
  refused(train(""), "vit.h5");
}

TEST_F(SameStart, AnotherModelFileIsRefusedAndNoneIsFine) {
  write_file(at(1, "vit.json"), read_file(at(0, "vit.json")) + "\n");
  refused(train(""), "ranks differ: --model vit.json is xxh3-128:");
  fs::remove(at(1, "vit.json"));
  const CommandResult result = train("");
  EXPECT_EQ(result.exit_code, 0) << result.output;
}

TEST_F(SameStart, AFolderThatIsNotShared) {
  refused(train("--results run"), ": --results: ");
  EXPECT_FALSE(fs::exists(at(0, "run")));
  for (const int rank : {0, 1}) {
    const CommandResult made = run_command("cd " + at(rank, "") + " && OMP_NUM_THREADS=1 " + lshdp_binary() +
                                           " train --model vit.json --data vit.h5 --steps 1 --batches 4 "
                                           "--checkpoint-every 1 --results run");
    ASSERT_EQ(made.exit_code, 0) << made.output;
  }
  const CommandResult other = train("--resume run");
  refused(other, "ranks differ: --resume run is xxh3-128:");
  EXPECT_THAT(other.errors, Not(HasSubstr("--results")));
  refused(train("--resume run/checkpoints/step-1"), "ranks differ: --resume run/checkpoints/step-1 is xxh3-128:");
  fs::remove_all(at(1, "run"));
  refused(train("--resume run"), ", absent on rank 1 (");
  // A copy holds the same, but is not the folder that all write into.
  fs::copy(at(0, "run"), at(1, "run"), fs::copy_options::recursive);
  const CommandResult copied = train("--resume run");
  refused(copied, ": --resume: ");
  EXPECT_THAT(copied.errors, Not(HasSubstr("--results")));
}

TEST_F(SameStart, WeightsAreThoseOfRankZeroInEveryMode) {
  for (const int seed : {0, 1}) {
    const CommandResult made = run_lshdp("init --model " + at(0, "vit.json") + " --seed " + std::to_string(seed) +
                                         " --save " + at(seed, "first.safetensors"));
    ASSERT_EQ(made.exit_code, 0) << made.output;
  }
  for (const char* mode : {"ddp", "fsdp", "lsdp"}) {
    const CommandResult result =
        train(std::string("--lr 0 --weight-decay 0 --init first.safetensors --save last.safetensors --mode ") + mode);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_THAT(result.errors, HasSubstr("all ranks begin with those of rank 0"));
    EXPECT_EQ(worst_difference(at(0, "last.safetensors"), at(0, "first.safetensors")), 0) << mode;
    EXPECT_GT(worst_difference(at(0, "last.safetensors"), at(1, "first.safetensors")), 0.1) << mode;
    fs::remove(at(0, "last.safetensors"));
  }
  const std::string evaluate = "--model vit.json --init first.safetensors --data vit.h5";
  const CommandResult two = run("evaluate", evaluate, evaluate);
  fs::remove(at(1, "first.safetensors"));
  const CommandResult one = run("evaluate", evaluate, evaluate);
  EXPECT_EQ(two.exit_code, 0) << two.output;
  EXPECT_EQ(one.exit_code, 0) << one.output;
  EXPECT_THAT(one.output, HasSubstr(two.output.substr(two.output.find("loss "), 13)));
}

TEST_F(SameStart, RanksThatCannotShareANodesMemoryAreRefused) {
  const std::string apart = "unshare --mount --pid --fork --mount-proc -- ";
  if (geteuid() != 0 || run_command(apart + "true").exit_code != 0) GTEST_SKIP() << "no PID namespace can be made here";
  const std::string arguments = " train --mode lsdp --model vit.json --data vit.h5 --steps 2 --batches 2,2";
  const CommandResult result =
      run_command(mpirun_line(1) + " --mca btl self,tcp -wdir " + at(0, "") + " " + lshdp_binary() + arguments +
                      " : -np 1 --mca btl self,tcp -wdir " + at(1, "") + " " + apart + lshdp_binary() + arguments,
                  60);
  EXPECT_EQ(result.exit_code, 1) << result.output;
  EXPECT_THAT(result.errors, HasSubstr("it runs in another PID namespace (container)"));
}

TEST_F(SameStart, RanksThatSeeAnotherNamespacesProcessesFindTheirOwnMemory) {
  // Their numbers in the mounted /proc are not those that getpid() tells.
  const std::string inside = "unshare --pid --fork ";
  if (geteuid() != 0 || run_command(inside + "true").exit_code != 0)
    GTEST_SKIP() << "no PID namespace can be made here";
  const CommandResult result =
      run_command("cd " + at(0, "") + " && exec " + inside + "sh -c '" + mpirun_line(2) + " " + lshdp_binary() +
                      " train --mode lsdp --model vit.json --data vit.h5 --steps 2 --batches "
                      "2,2'",
                  60);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.errors, HasSubstr("2 ranks on 1 node"));
}

}  // namespace
}  // namespace lshdp::test
