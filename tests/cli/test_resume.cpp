// Run directories of lshdp train as users meet them: what is recorded, what is never overwritten, what a resume
// refuses.
#include <filesystem>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/plan/profile.h"
#include "plan/profiles.h"
#include "program.h"
#include "training_files.h"
#include "weights.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Resume : public TrainingFixture<> {
 protected:
  std::string checkpoint(int step) const { return out(fmt::format("run/checkpoints/step-{}", step)); }
  CommandResult run(int ranks, const std::string& arguments, const std::string& model = "vit") const {
    const std::string command = "train " + files_->options(model) + " " + arguments;
    return ranks == 1 ? run_command("OMP_NUM_THREADS=1 " + lshdp_binary() + " " + command)
                      : run_lshdp_on(ranks, command);
  }
  CommandResult train(int ranks, const std::string& arguments, const std::string& model = "vit") const {
    CommandResult result = run(ranks, arguments, model);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return result;
  }
  /// One line that holds `message`, exit code 2.
  void refused(int ranks, const std::string& arguments, const std::string& message) const {
    const CommandResult result = run(ranks, "--log warn " + arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments << "\n" << result.output;
    EXPECT_EQ(count_lines_with(result.errors, "lshdp train: "), 1) << result.errors;
    EXPECT_THAT(result.errors, HasSubstr(message));
  }
  /// A run of 4 steps with checkpoints of steps 2 and 4 in "run".
  void make_run(int ranks = 1, const std::string& batches = "16", const std::string& more = "") const {
    train(ranks,
          "--log warn --batches " + batches + " --steps 4 --checkpoint-every 2 --results " + out("run") + " " + more);
  }
  std::vector<std::int64_t> steps_in(const std::string& metrics) const {
    std::istringstream lines(read_file(out(metrics)));
    std::vector<std::int64_t> steps;
    for (std::string line; std::getline(lines, line);) {
      const Json record = Json::parse(line);
      if (record["record"] == "step") steps.push_back(record["step"]);
    }
    return steps;
  }
  void flip_byte(const std::string& path) const {
    std::string content = read_file(path);
    content[content.size() / 2] ^= 1;
    write_file(path, content);
  }
};

TEST_F(Resume, GoesOnWhereFilesCannotBeLocked) {
  make_run();
  const CommandResult result = run_command("OMP_NUM_THREADS=1 LD_PRELOAD=" NO_LOCKS " " + lshdp_binary() + " train " +
                                           files_->options("vit") + " --batches 16 --steps 6 --resume " + out("run"));
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(steps_in("run/metrics.jsonl"), testing::ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST_F(Resume, FindsTheWholeConfigurationInTheRunDirectory) {
  make_run(2, "12,4", "--lr 0.002 --flip --eval-data " + files_->path("vit.h5"));
  const Json run = read_json(out("run/run.json"));
  EXPECT_EQ(run["version"], 1);
  EXPECT_THAT(run["program"].get<std::string>(), testing::StartsWith("lshdp "));
  EXPECT_EQ(run["command"][1], "train");
  EXPECT_EQ(run["options"]["lr"], "0.002");
  EXPECT_EQ(run["options"]["warmup"], "0");  // by default
  EXPECT_EQ(run["training"]["--flip"], true);
  ASSERT_EQ(run["ranks"].size(), 2U);
  EXPECT_FALSE(run["ranks"][1]["host"].get<std::string>().empty());
  EXPECT_GT(run["ranks"][1]["pid"], 0);
  EXPECT_GE(run["ranks"][1]["threads"], 1);
  EXPECT_EQ(run["data"]["path"], files_->path("vit.h5"));
  EXPECT_EQ(run["data"]["count"], 100);
  EXPECT_THAT(run["data"]["checksum"].get<std::string>(), testing::StartsWith("xxh3-128:"));
  EXPECT_EQ(run["eval_data"]["checksum"], run["data"]["checksum"]);
  EXPECT_EQ(run["model"]["description"]["type"], "vit");
  EXPECT_EQ(run["plan"]["total"], 16);
  EXPECT_EQ(run["resumes"], Json::array());
  train(1, "--log warn --batches 16 --steps 6 --lr 0.002 --flip --resume " + out("run"));
  const Json resumed = read_json(out("run/run.json"));
  ASSERT_EQ(resumed["resumes"].size(), 1U);
  EXPECT_EQ(resumed["resumes"][0]["resumed_after"], 4);
  EXPECT_EQ(resumed["resumes"][0]["ranks"].size(), 1U);
  EXPECT_EQ(resumed["started"], run["started"]);
  EXPECT_EQ(steps_in("run/metrics.jsonl"), (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6}));
}

TEST_F(Resume, NeverOverwritesAnEarlierRunUnasked) {
  const std::string again = "--batches 16 --steps 2 --results " + out("run");
  train(1, "--log warn " + again);  // without checkpoints
  const std::string metrics = read_file(out("run/metrics.jsonl"));
  refused(1, again, "holds an earlier run; take another folder, or replace it with --overwrite");
  make_run(1, "16", "--overwrite");
  refused(2, "--batches 8,8 --steps 2 --results " + out("run"), "continue it with --resume " + out("run"));
  EXPECT_EQ(steps_in("run/metrics.jsonl").size(), 4U);
  train(1, "--log warn --batches 16 --steps 1 --overwrite --results " + out("run"));
  EXPECT_EQ(steps_in("run/metrics.jsonl").size(), 1U);
  EXPECT_FALSE(fs::exists(out("run/checkpoints")));
  write_file(out("run/abandoned-step-4.safetensors"), "of the earlier run");
  train(1, "--log warn --batches 16 --steps 1 --overwrite --results " + out("run"));
  EXPECT_FALSE(fs::exists(out("run/abandoned-step-4.safetensors")));
}

TEST_F(Resume, KeepsAnEarlierRunWhenItsSuccessorCannotBegin) {
  make_run();
  const std::string plan = read_file(out("run/batches.json"));
  refused(1, "--batches 12 --steps 2 --overwrite --init " + out("nothing") + " --results " + out("run"), "nothing");
  EXPECT_TRUE(fs::exists(checkpoint(4) + "/manifest.json"));
  EXPECT_EQ(steps_in("run/metrics.jsonl").size(), 4U);
  EXPECT_EQ(read_file(out("run/batches.json")), plan);
}

TEST_F(Resume, LeavesNothingOfARunThatIsRefused) {
  const std::string common = "--batches 8,8 --steps 1 --save " + out("new/w.safetensors") + " --results ";
  fs::create_directory(out("empty"));
  for (const std::string& results : {out("new/deep/run"), out("empty")}) {
    refused(2, common + results + " --init " + out("nothing"), "nothing");
    refused(2, "--batches 60,60 --steps 1 --save " + out("new/w.safetensors") + " --results " + results, "100");
    refused(2, common + results + " --crop-padding 9", "--crop-padding");
    refused(2, common + results + " --eval-data " + out("nothing.h5"), "nothing.h5");
    refused(2, common + results + " --device cuda,cuda,cuda", "--device");
    refused(2, "--batches 8,8 --steps 1 --results " + results + " --save " + out("empty"), "--save");
    EXPECT_FALSE(fs::exists(out("new")));
    EXPECT_TRUE(fs::is_empty(out("empty")));
  }
  refused(2, "--batches 8,8 --steps 1 --resume " + out("empty"), "--resume: no complete checkpoint");
  EXPECT_TRUE(fs::is_empty(out("empty")));
  make_run();
  refused(2, "--batches 8,8 --steps 4 --resume " + checkpoint(2) + " --lr 5 --results " + out("new/run"), "--lr");
  EXPECT_FALSE(fs::exists(out("new")));
}

TEST_F(Resume, NamesTheOptionThatGaveTheRunDirectory) {
  make_run();
  write_file(out("run/.lock"), "");
  const CommandResult busy = run_command("flock " + out("run/.lock") + " " + lshdp_binary() + " train " +
                                         files_->options("vit") + " --batches 16 --steps 5 --resume " + out("run"));
  EXPECT_EQ(busy.exit_code, 2) << busy.output;
  EXPECT_THAT(busy.errors, AllOf(HasSubstr("--resume: "), HasSubstr("is in use by "), Not(HasSubstr("--results"))));
}

TEST_F(Resume, KeepsOtherRunsOutOfTheFoldersOfARun) {
  make_run();
  const std::string inside = "lies in " + out("run/checkpoints") + ", which belongs to the run " + out("run");
  for (const char* name : {"run/checkpoints", "run/checkpoints/", "run/checkpoints/step-4", "run/checkpoints/a/b",
                           "run/../run/checkpoints/new"}) {
    refused(1, "--batches 16 --steps 5 --results " + out(name), "--results: " + out(name) + " " + inside);
    refused(1, "--batches 16 --steps 5 --resume " + checkpoint(2) + " --results " + out(name), inside);
  }
  refused(2, "--batches 8,8 --steps 5 --save " + out("run/checkpoints/w.safetensors"), "--save: ");
  refused(1, "--batches 16 --steps 5 --results " + out("run/best"), "lies in " + out("run/best"));
  EXPECT_FALSE(fs::exists(out("run/checkpoints/a")));
  EXPECT_FALSE(fs::exists(out("run/best")));
  // A folder of that name which is no run's.
  train(1, "--log warn --batches 16 --steps 1 --results " + out("checkpoints/mine"));
}

TEST_F(Resume, SaysWhatIsWrongWithEveryCheckpointWhereNoneIsGood) {
  make_run(2, "8,8");
  flip_byte(checkpoint(4) + "/rank-1.h5");
  fs::remove(checkpoint(2) + "/rank-0.h5");
  const std::string again = "--batches 8,8 --steps 6 --resume " + out("run");
  refused(2, again, "--resume: none of the 2 checkpoints in " + out("run") + " can be used: ");
  refused(2, again, "step-4/rank-1.h5 is damaged: it is not what was written; ");
  refused(2, again, "step-2/rank-0.h5 is missing");
}

TEST_F(Resume, RefusesASecondRunInTheFolderOfOneThatRuns) {
  // The first waits for a reader of the pipe that its log goes to, when it has claimed the folder.
  const std::string common =
      lshdp_binary() + " train " + files_->options("vit") + " --batches 16 --results " + out("run");
  const std::string fifo = out("log");
  const CommandResult second =
      run_command("mkfifo " + fifo + "; " + common + " --steps 1000000 2>" + fifo + " & first=$!; exec 3<" + fifo +
                  "; while read -r line <&3; do case $line in *'samples/s'*) break;; esac; done; cat "
                  "<&3 >/dev/null & " +
                  common + " --steps 2; code=$?; kill -TERM $first; wait $first; exit $code");
  EXPECT_EQ(second.exit_code, 2) << second.output << second.errors;
  EXPECT_THAT(second.errors, AllOf(HasSubstr("in use by process "), HasSubstr(" on "), HasSubstr("another folder")));
}

TEST_F(Resume, RefusesWhatWouldChangeTheMathematicsUnlessToldTo) {
  make_run(2, "12,4");
  const std::string on = "--batches 16 --steps 6 --resume " + out("run") + " ";
  refused(1, on + "--lr 0.5",
          "step-4 was written with --lr 0.001 (now 0.5); give what it was written with, or add --resume-with-changes");
  refused(2, "--batches 8,8 --steps 6 --schedule cosine --clip 1 --seed 3 --resume " + out("run"),
          "--seed 0 (now 3), --clip 0.0 (now 1.0), --schedule constant (now cosine)");
  refused(1, "--batches 20 --steps 6 --resume " + out("run"), "--total 16 (now 20)");
  refused(1, on + "--precision bf16", "--precision fp32 (now bf16)");
  const std::string other =
      run_lshdp("data synthetic-images --count 90 --channels 1 --size 8 --classes 5 --seed 9 --out " + out("other.h5"))
          .errors;
  const std::string model =
      "train --log warn --model " + files_->path("vit.json") + " --data " + out("other.h5") + " " + on;
  const CommandResult data = run_lshdp(model);
  EXPECT_EQ(data.exit_code, 2) << other << data.output;
  EXPECT_THAT(data.errors, HasSubstr(fmt::format("--data {}, 100 images (now {}, 90 images)", files_->path("vit.h5"),
                                                 out("other.h5"))));
  const CommandResult forced = run_lshdp(model + "--lr 0.5 --resume-with-changes");
  EXPECT_EQ(forced.exit_code, 0) << forced.errors;
  EXPECT_THAT(forced.errors, AllOf(HasSubstr("--resume-with-changes: --data "), HasSubstr("--lr 0.001 (now 0.5)")));
  EXPECT_EQ(read_json(out("run/run.json"))["resumes"][0]["changes"].size(), 2U);
}

TEST_F(Resume, RefusesWhatDoesNotFitBeforeAnythingIsMeasured) {
  make_run();
  const std::string again = "--batches auto --total 16 --resume " + out("run") + " ";
  refused(2, again + "--steps 8 --lr 0.5", "--lr 0.001 (now 0.5)");
  refused(2, again + "--steps 4", "has done 4 steps already");
  EXPECT_FALSE(fs::exists(out("run/profile.json")));
}

TEST_F(Resume, RefusesACosineOfAnotherLength) {
  make_run(1, "16", "--schedule cosine");
  refused(1, "--batches 16 --steps 8 --schedule cosine --resume " + out("run"), "--steps (or --epochs) 4 (now 8)");
}

TEST_F(Resume, SaysWhatAFinishedRunStillOffers) {
  make_run();
  refused(1, "--batches 16 --steps 4 --resume " + out("run"),
          "has done 4 steps already; ask for more --steps or --epochs");
}

TEST_F(Resume, GoesOnFromAnEarlierStepAndSetsTheLaterOnesAside) {
  make_run();
  const CommandResult back = train(2, "--batches 12,4 --steps 3 --checkpoint-every 3 --resume " + checkpoint(2));
  EXPECT_THAT(back.errors, HasSubstr("the checkpoints after step 2 now lie in " + out("run/checkpoints/abandoned-1")));
  EXPECT_TRUE(fs::exists(out("run/checkpoints/abandoned-1/step-4/manifest.json")));
  EXPECT_EQ(steps_in("run/checkpoints/abandoned-1/metrics.jsonl").size(), 4U);
  EXPECT_EQ(steps_in("run/metrics.jsonl"), (std::vector<std::int64_t>{1, 2, 3}));
  const CommandResult on = train(1, "--batches 16 --steps 5 --resume " + out("run"));
  EXPECT_THAT(on.errors, HasSubstr("resumed after step 3"));
}

TEST_F(Resume, PassesOverADamagedCheckpointAndComesToTheSameWeights) {
  const std::string common = " --precision fp64 --log warn --checkpoint-every 2 --results " + out("run");
  train(1, "--batches 16 --steps 6 --precision fp64 --log warn --save " + out("through.safetensors"));
  train(3, "--batches 4,4,8 --steps 4" + common);
  flip_byte(checkpoint(4) + "/rank-1.h5");
  const CommandResult on =
      train(2, "--batches 12,4 --steps 6 --resume " + out("run") + " --save " + out("w.safetensors") + common);
  EXPECT_THAT(on.errors,
              HasSubstr("step-4/rank-1.h5 is damaged: it is not what was written; the checkpoint before it is used"));
  EXPECT_LT(worst_difference(out("w.safetensors"), out("through.safetensors")), 1e-9);
  flip_byte(checkpoint(6) + "/rank-0.h5");
  refused(3, "--batches 4,4,8 --precision fp64 --steps 8 --resume " + checkpoint(6),
          "; " + checkpoint(4) + " is the good one before it");
}

TEST_F(Resume, UsesTheProfileOfTheSameSetUp) {
  const std::string common =
      "--memory 256MiB --threads 1 --total 16 --checkpoint-every 2 --results " + out("run") + " ";
  train(2, common + "--log warn --batches equal --steps 2");
  // As if it had been measured: measuring takes long.
  Json run = read_json(out("run/run.json")), ranks = run["ranks"];
  for (Json& rank : ranks) {
    rank.erase("rank");
    rank.erase("pid");
  }
  run["measured_with"] = {{"model", run["model"]["description"]},
                          {"mode", "ddp"},
                          {"precision", "fp32"},
                          {"wire", "exact"},
                          {"recompute", false},
                          {"offload", false},
                          {"offload_activations", false},
                          {"resident", nullptr},
                          {"total", 16},
                          {"ranks", ranks}};
  write_json(out("run/run.json"), run);
  plan::Profile profile =
      plan::test::make_profile({plan::test::linear_rank(16, 0, 1e-3), plan::test::linear_rank(16, 0, 3e-3)});
  profile.model = "vit";
  plan::write_profile(out("run/profile.json"), profile);
  const std::string written = read_file(out("run/profile.json"));
  const CommandResult on = train(2, common + "--batches auto --steps 4 --resume " + out("run"));
  EXPECT_THAT(on.errors, HasSubstr("nothing is measured again"));
  EXPECT_EQ(read_file(out("run/profile.json")), written);
  EXPECT_EQ(read_json(out("run/batches.json"))["ranks"][0]["batch"], 12);
  EXPECT_EQ(read_json(out("run/run.json"))["resumes"][0]["measured_with"], run["measured_with"]);
  profile.disturbed = {"rank 1 was 2.0 times as slow when its first batch was timed again"};
  plan::write_profile(out("run/profile.json"), profile);
  const CommandResult again = train(2, common + "--batches auto --steps 6 --resume " + out("run"));
  EXPECT_THAT(again.errors, AllOf(HasSubstr("was disturbed when it was measured: measuring again"),
                                  Not(HasSubstr("nothing is measured again"))));
  EXPECT_NE(plan::read_profile(out("run/profile.json")).disturbed, profile.disturbed);
}

TEST_F(Resume, ReportsARunThatChangedItsRanks) {
  make_run(2, "12,4");
  train(3, "--log warn --batches 4,4,8 --steps 7 --resume " + out("run"));
  const CommandResult report = run_lshdp("report " + out("run"));
  EXPECT_EQ(report.exit_code, 0) << report.errors;
  EXPECT_THAT(report.output, testing::ContainsRegex("\n *2  "));  // a row for rank 2
  EXPECT_EQ(read_json(out("run/summary.json"))["ranks"].size(), 3U);
}

TEST_F(Resume, SaysAtOnceWhereEachProcessWouldBeARunOfItsOwn) {
  const std::string command =
      lshdp_binary() + " train " + files_->options("vit") + " --batches 16 --steps 1 --results " + out("run");
  const std::string slurm = "SLURM_STEP_NUM_TASKS=2 SLURM_NTASKS=2 SLURM_PROCID=";
  const CommandResult first = run_command(slurm + "0 " + command), second = run_command(slurm + "1 " + command);
  EXPECT_EQ(first.exit_code, 2);
  EXPECT_THAT(first.errors, AllOf(HasSubstr("srun started 2 processes"), HasSubstr("srun --mpi=pmix")));
  EXPECT_EQ(count_lines_with(first.errors, "lshdp train: "), 1) << first.errors;
  EXPECT_EQ(second.exit_code, 2);
  EXPECT_EQ(count_lines_with(second.errors, "lshdp train: "), 0) << second.errors;
  EXPECT_FALSE(fs::exists(out("run")));
  const CommandResult hydra = run_command("PMI_SIZE=3 PMI_RANK=0 " + command);
  EXPECT_EQ(hydra.exit_code, 2);
  EXPECT_THAT(hydra.errors, HasSubstr("another MPI's mpiexec started 3 processes"));
  // A batch script that starts one process, and mpirun within srun, are what they seem.
  EXPECT_EQ(run_command("SLURM_NTASKS=2 SLURM_PROCID=0 " + command).exit_code, 0);
  EXPECT_EQ(run_command(slurm + "1 " + mpirun_line(2) + " " + lshdp_binary() + " train --log warn " +
                        files_->options("vit") + " --batches 8,8 --steps 1")
                .exit_code,
            0);
}

TEST_F(Resume, RefusesMoreStepsThanCanBeCountedAndWarnsOfAWarmUpBeyondTheEnd) {
  const CommandResult many = run(1, "--log warn --batches 4 --epochs 1000000000000000000");
  EXPECT_EQ(many.exit_code, 2);
  EXPECT_THAT(many.errors, HasSubstr("--epochs"));
  const CommandResult warm = train(1, "--log warn --batches 16 --steps 3 --warmup 10");
  EXPECT_THAT(warm.errors, HasSubstr("--warmup: the rate rises for 10 steps, but the run ends after 3"));
}

TEST_F(Resume, WritesCheckpointsByTimeIfAsked) {
  // Due after every step; told to all ranks two steps later.
  train(2, "--log warn --batches 12,4 --steps 8 --checkpoint-every 0.000001s --keep-checkpoints 9 --results " +
               out("run"));
  const auto folders = fs::directory_iterator(out("run/checkpoints"));
  EXPECT_GT(std::distance(fs::begin(folders), fs::end(folders)), 2);
  EXPECT_TRUE(fs::exists(checkpoint(8)));
  for (const std::string interval : {"10days", "90x", "0s", "1.5"}) {
    refused(1, "--batches 16 --steps 1 --checkpoint-every " + interval + " --results " + out("other"),
            "--checkpoint-every: '" + interval + "' is neither a whole number nor a time above 0 such as 90s, 10min");
  }
}

TEST_F(Resume, RefusesOptionsThatExcludeEachOther) {
  for (const std::string options : {"--overwrite", "--resume-with-changes", "--trace", "--keep-checkpoints 3",
                                    "--checkpoint-every 2", "--overwrite --results x --resume y"}) {
    const CommandResult result = run_lshdp("train " + files_->options("vit") + " --batches 1 --steps 1 " + options);
    EXPECT_EQ(result.exit_code, 2) << options;
    EXPECT_EQ(count_lines_with(result.errors, "lshdp train: --"), 1) << result.errors;
  }
}

TEST_F(Resume, WritesSummaryAndTraceWhenInterruptedAndEndsWith75) {
  const std::string command = lshdp_binary() + " train " + files_->options("gpt") +
                              " --batches 16 --steps 1000000 --trace --results " + out("run");
  const std::string fifo = out("log");
  const CommandResult stopped =
      run_command("mkfifo " + fifo + "; " + command + " 2>" + fifo + " & first=$!; exec 3<" + fifo +
                  "; while read -r line <&3; do case $line in *'tokens/s'*) break;; esac; "
                  "done; kill -TERM $first; cat <&3 >&2; wait $first");
  EXPECT_EQ(stopped.exit_code, 75) << stopped.errors;
  EXPECT_THAT(stopped.errors, HasSubstr("interrupted after step"));
  const Json summary = read_json(out("run/summary.json"));
  EXPECT_EQ(summary["finished"], false);
  EXPECT_GT(summary["tokens_per_second"], 0);
  EXPECT_GT(Json::parse(read_file(out("run/trace.json"))).size(), 0U);
  const std::int64_t done = summary["steps"];
  const CommandResult on =
      train(2, fmt::format("--log warn --batches 8,8 --steps {} --resume {}", done + 2, out("run")), "gpt");
  EXPECT_EQ(read_json(out("run/summary.json"))["finished"], true);
}

}  // namespace
}  // namespace lshdp::test
