// --resume auto, as a job that is started again and again meets it, and the signals that end one.
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

class AutoResume : public TrainingFixture<> {
 protected:
  std::string checkpoint(int step) const { return out(fmt::format("run/checkpoints/step-{}", step)); }
  std::string options(const std::string& arguments) const {
    return "train " + files_->options("vit") + " --results " + out("run") + " --resume auto " + arguments;
  }
  CommandResult run(int ranks, const std::string& arguments, int code = 0) const {
    CommandResult result = ranks == 1 ? run_command("OMP_NUM_THREADS=1 " + lshdp_binary() + " " + options(arguments))
                                      : run_lshdp_on(ranks, options(arguments));
    EXPECT_EQ(result.exit_code, code) << arguments << "\n" << result.output;
    EXPECT_EQ(count_lines_with(result.errors, "lshdp train: "), code == 0 ? 0 : 1) << result.errors;
    return result;
  }
  /// As a run that is killed after its last checkpoint and before its end leaves its folder.
  void take_the_end_away() const {
    fs::remove(out("run/model.safetensors"));
    fs::remove(out("run/summary.json"));
  }
  void flip_byte(const std::string& path) const {
    std::string content = read_file(path);
    content[content.size() / 2] ^= 1;
    write_file(path, content);
  }
};

TEST_F(AutoResume, BeginsGoesOnAndThenHasNothingLeftToDo) {
  const std::string common = "--batches 12,4 --precision fp64 --checkpoint-every 2 ";
  EXPECT_THAT(run(2, common + "--steps 4").errors, HasSubstr("has no checkpoint: the run begins at its first step"));
  const CommandResult on = run(2, common + "--steps 7");
  EXPECT_THAT(on.errors,
              AllOf(HasSubstr("goes on from its newest good checkpoint"), HasSubstr("resumed after step 4")));
  const std::string weights = read_file(out("run/model.safetensors"));
  const CommandResult done = run(2, common + "--steps 7");
  EXPECT_THAT(done.errors, HasSubstr("has done its 7 steps: nothing is left to do"));
  EXPECT_THAT(done.output, HasSubstr("holds the finished run of 7 steps"));
  EXPECT_EQ(read_file(out("run/model.safetensors")), weights);
  EXPECT_EQ(read_json(out("run/run.json"))["resumes"].size(), 1U);
}

TEST_F(AutoResume, TakesTheOneBeforeWhereTheNewestCannotBeRead) {
  const std::string common = "--batches 12,4 --checkpoint-every 2 ";
  run(2, common + "--steps 6");
  take_the_end_away();
  fs::remove(checkpoint(6) + "/rank-0.h5");
  fs::create_symlink("/proc/self/mem", checkpoint(6) + "/rank-0.h5");  // an input/output error
  EXPECT_THAT(run(2, common + "--steps 7").errors,
              AllOf(HasSubstr("the checkpoint before it is used"), HasSubstr("resumed after step 4")));
}

TEST_F(AutoResume, BeginsNothingAnewWhereCheckpointsCannotBeSeen) {
  const std::string common = "--batches 12,4 --checkpoint-every 2 ";
  run(2, common + "--steps 4");
  take_the_end_away();
  const std::string metrics = read_file(out("run/metrics.jsonl"));
  fs::rename(out("run/checkpoints"), out("elsewhere"));
  fs::create_symlink("not-mounted", out("run/checkpoints"));
  EXPECT_THAT(run(2, common + "--steps 6", 1).errors, HasSubstr("cannot look into"));
  EXPECT_EQ(read_file(out("run/metrics.jsonl")), metrics);
}

TEST_F(AutoResume, ComparesAFinishedRunWithWhatIsAskedFor) {
  run(1, "--batches 16 --epochs 1");
  EXPECT_THAT(run(1, "--batches 16 --epochs 1").errors, HasSubstr("nothing is left to do"));
  EXPECT_THAT(run(1, "--batches 16 --steps 7").errors, HasSubstr("nothing is left to do"));
  for (const auto& [options, change] :
       {std::pair("--lr 0.5", "--lr 0.001 (now 0.5)"), std::pair("--seed 3", "--seed 0 (now 3)"),
        std::pair("--precision bf16", "--precision fp32 (now bf16)")})
    EXPECT_THAT(run(1, std::string("--batches 16 --epochs 1 ") + options, 2).errors, HasSubstr(change));
  EXPECT_THAT(run(1, "--batches 20 --epochs 1", 2).errors, HasSubstr("--total 16 (now 20)"));
  run(1, "--batches 16 --epochs 1 --lr 0.5 --resume-with-changes");
  // It has no checkpoint to go on from, and its weights are not to be lost.
  EXPECT_THAT(run(2, "--batches 8,8 --epochs 2", 2).errors,
              HasSubstr("holds weights, but no checkpoint to go on from; take another folder"));
  EXPECT_TRUE(fs::exists(out("run/model.safetensors")));
}

TEST_F(AutoResume, WritesTheWeightsOfARunThatWasKilledBeforeItCould) {
  run(2, "--batches 8,8 --steps 4 --checkpoint-every 2");
  const std::string weights = read_file(out("run/model.safetensors"));
  take_the_end_away();
  EXPECT_THAT(run(2, "--batches 8,8 --steps 4 --checkpoint-every 2").errors, HasSubstr("resumed after step 4"));
  EXPECT_EQ(read_file(out("run/model.safetensors")), weights);
  EXPECT_EQ(read_json(out("run/summary.json"))["finished"], true);
  EXPECT_EQ(read_json(out("run/summary.json"))["steps"], 4);
}

TEST_F(AutoResume, PassesOverWhatIsDamagedOrWasNeverFinished) {
  run(1, "--batches 16 --steps 6 --checkpoint-every 2");
  take_the_end_away();
  fs::create_directories(checkpoint(8));
  write_file(checkpoint(8) + "/rank-0.h5", "half");
  flip_byte(checkpoint(6) + "/rank-0.h5");
  EXPECT_THAT(run(1, "--batches 16 --steps 6 --checkpoint-every 2").errors,
              AllOf(HasSubstr("step-6/rank-0.h5 is damaged"), HasSubstr("resumed after step 4")));
}

TEST_F(AutoResume, NeverBeginsAnewWhereEveryCheckpointIsDamaged) {
  run(1, "--batches 16 --steps 4 --checkpoint-every 2");
  take_the_end_away();
  for (const int step : {2, 4}) flip_byte(checkpoint(step) + "/rank-0.h5");
  EXPECT_THAT(run(2, "--batches 8,8 --steps 4", 2).errors, HasSubstr("none of the 2 checkpoints in "));
  EXPECT_TRUE(fs::exists(checkpoint(4) + "/rank-0.h5"));
}

TEST_F(AutoResume, BeginsInThePlaceOfARunThatEndedBeforeItsFirstCheckpoint) {
  const std::string evaluated = "--eval-every 1 --keep-best --eval-data " + files_->path("vit.h5");
  run(1, "--batches 16 --steps 3 " + evaluated);
  const std::string best = read_file(out("run/best/model.safetensors"));
  take_the_end_away();
  fs::create_directories(checkpoint(3));
  EXPECT_THAT(run(2, "--batches 8,8 --steps 2 --checkpoint-every 2").errors,
              AllOf(HasSubstr("has no checkpoint: the run begins at its first step"), HasSubstr("are now ")));
  EXPECT_FALSE(fs::exists(checkpoint(3)));
  EXPECT_TRUE(fs::exists(checkpoint(2) + "/manifest.json"));
  const Json run = read_json(out("run/run.json"));
  EXPECT_EQ(run["resumes"], Json::array());
  EXPECT_EQ(run["ranks"].size(), 2U);
  // Weights that might be all that is left of it are kept.
  bool kept = false;
  for (const auto& entry : fs::directory_iterator(out("run/best"))) kept = kept || read_file(entry.path()) == best;
  EXPECT_TRUE(kept);
}

TEST_F(AutoResume, TakesInitForTheBeginningOnly) {
  const std::string init = out("w.safetensors");
  ASSERT_EQ(run_lshdp("init --model " + files_->path("vit.json") + " --save " + init).exit_code, 0);
  const std::string common = "--batches 16 --checkpoint-every 2 --init " + init;
  run(1, common + " --steps 2");
  EXPECT_THAT(run(1, common + " --steps 3").errors, HasSubstr("resumed after step 2"));
}

TEST_F(AutoResume, NeedsARunDirectory) {
  const CommandResult alone = run_lshdp("train " + files_->options("vit") + " --batches 16 --steps 1 --resume auto");
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_THAT(alone.errors, HasSubstr("--resume auto needs --results"));
  EXPECT_EQ(count_lines_with(alone.errors, "lshdp train: "), 1) << alone.errors;
  EXPECT_EQ(run_lshdp(options("--batches 16 --steps 1 --overwrite")).exit_code, 2);
  // A folder of that name.
  const CommandResult folder = run_command("cd " + out("") + " && " + lshdp_binary() + " train " +
                                           files_->options("vit") + " --batches 16 --steps 1 --resume ./auto");
  EXPECT_THAT(folder.errors, HasSubstr("--resume: there is no folder ./auto"));
}

TEST_F(AutoResume, StandsInTheFileOfARunAsWell) {
  write_file(out("run.yaml"),
             fmt::format("options:\n  model: {}\n  data: {}\n  batches: 16\n  steps: 2\n  checkpoint-every: 2\n"
                         "  results: {}\n  resume: auto\n",
                         files_->path("vit.json"), files_->path("vit.h5"), out("run")));
  const CommandResult first = run_lshdp("run " + out("run.yaml"));
  EXPECT_EQ(first.exit_code, 0) << first.errors;
  const CommandResult second = run_lshdp("run " + out("run.yaml") + " steps=4");
  EXPECT_EQ(second.exit_code, 0) << second.errors;
  EXPECT_THAT(second.errors, HasSubstr("resumed after step 2"));
}

class Signal : public AutoResume, public testing::WithParamInterface<const char*> {
 protected:
  /// A run of 2 ranks that would not end, in the background of a shell, and a wait for its first steps.
  std::string start() const {
    return mpirun_line(2) + " " + lshdp_binary() + " " + options("--batches 8,8 --steps 1000000 --log warn") + " & " +
           wait_in_shell("grep -q '\"step\",' " + out("run") + "/metrics.jsonl");
  }
  /// Shell that gives the process of a rank.
  std::string process_of(int rank) const {
    return fmt::format(
        "$(for p in $(pgrep -f -- '[-]-results {} '); do grep -qz '^OMPI_COMM_WORLD_RANK={}$' /proc/$p/environ && "
        "echo $p; done)",
        out("run"), rank);
  }
};

INSTANTIATE_TEST_SUITE_P(Each, Signal, testing::Values("TERM", "INT", "USR1"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST_P(Signal, OfOneRankEndsAllAtTheNextStepWithACheckpoint) {
  const CommandResult stopped = run_command(start() + fmt::format("kill -{} {}; wait $!", GetParam(), process_of(1)));
  EXPECT_EQ(stopped.exit_code, 75) << stopped.output;
  EXPECT_THAT(stopped.errors, HasSubstr("interrupted after step"));
  const Json summary = read_json(out("run/summary.json"));
  EXPECT_EQ(summary["finished"], false);
  const auto step = summary["steps"].get<std::int64_t>();
  EXPECT_TRUE(fs::exists(checkpoint(static_cast<int>(step)) + "/manifest.json"));
  EXPECT_THAT(run(2, fmt::format("--batches 8,8 --steps {}", step + 2)).errors,
              HasSubstr(fmt::format("resumed after step {}", step)));
}

TEST_P(Signal, ThatComesAgainEndsTheRunAtOnce) {
  // Rank 1 is stopped: rank 0 cannot come to its next step. On a busy machine two signals may come at once.
  const std::string again =
      fmt::format("rank={}; kill -STOP {}; while kill -{} $rank 2>/dev/null; do sleep 1.5; done; ", process_of(0),
                  process_of(1), GetParam());
  const CommandResult ended = run_command(start() + again + "wait $!", kSoonSeconds);
  EXPECT_NE(ended.exit_code, 0);
  EXPECT_NE(ended.exit_code, 75) << ended.output;
  EXPECT_NE(ended.exit_code, 124) << "it hung";
  EXPECT_NE(run_command("pgrep -f -- '[-]-results " + out("run") + " '").exit_code, 0) << "a rank is left";
}

}  // namespace
}  // namespace lshdp::test
