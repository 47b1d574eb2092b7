// lshdp run and init-config: a file does what the command line does, changes of it count, and each bad file is refused.
#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/cli/options.h"
#include "lshdp/core/file.h"
#include "lshdp/core/host.h"
#include "program.h"
#include "training_files.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// What mpirun needs here, as tests give it.
constexpr const char* kMpirun = "mpirun: [--allow-run-as-root, --oversubscribe, --bind-to, none]\n";

class Run : public TrainingFixture<> {
 protected:
  /// A file with this text.
  std::string file(const std::string& text) const {
    write_file(out("run.yaml"), text);
    return out("run.yaml");
  }
  /// Options of a short training, and `more`, a line each.
  static std::string training(const std::string& more) {
    return fmt::format("options:\n  model: {}\n  data: {}\n  threads: 1\n  steps: 3\n{}", files_->path("vit.json"),
                       files_->path("vit.h5"), more);
  }
  /// The weights that `lshdp ARGUMENTS` writes into out(name), on `ranks`; 0: without mpirun.
  std::string weights(int ranks, const std::string& arguments, const std::string& name) const {
    const CommandResult result = ranks == 0 ? run_lshdp(arguments) : run_lshdp_on(ranks, arguments);
    EXPECT_EQ(result.exit_code, 0) << arguments << "\n" << result.output;
    return fs::exists(out(name)) ? read_file(out(name)) : "none of " + arguments;
  }
  /// The weights of the command line.
  std::string trained(int ranks, const std::string& arguments) const {
    return weights(ranks,
                   "train " + files_->options("vit") + " --threads 1 --log warn --save " + out("line.safetensors") +
                       " " + arguments,
                   "line.safetensors");
  }
  std::string save() const { return "  save: " + out("file.safetensors") + "\n"; }

  /// Expects exit code 2 and one line that holds `message`.
  void refused(const std::string& text, const std::string& message, const std::string& overrides = "") const {
    const CommandResult result = run_lshdp("run " + file(text) + " " + overrides);
    EXPECT_EQ(result.exit_code, 2) << text << result.output;
    EXPECT_THAT(result.errors, HasSubstr("lshdp run: "));
    EXPECT_THAT(result.errors, HasSubstr(message)) << text;
    EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
  }
};

TEST_F(Run, TrainsTheWeightsOfTheCommandLineToTheBit) {
  const std::string line = "--steps 3 --lr 1e-2 --flip ",
                    text = "  lr: 1e-2\n  flip: true\n  recompute: false\n" + save();
  const std::string one = trained(0, line + "--batches 8");
  EXPECT_EQ(weights(0, "run " + file(training(text + "  batches: 8\n")), "file.safetensors"), one);
  EXPECT_EQ(weights(1, "run " + file(training(text + "  batches: 8\n")), "file.safetensors"), one);
  const std::string two = trained(2, line + "--batches 3,5");
  EXPECT_EQ(weights(2, "run " + file(training(text + "  batches: [3, 5]\n")), "file.safetensors"), two);
  EXPECT_EQ(weights(2, "run " + file(training(text + "  batches: 3,5\n")), "file.safetensors"), two);
}

TEST_F(Run, TakesChangesFromTheCommandLine) {
  const std::string before = file(training("  batches: 8\n  lr: 1e-2\n  flip: true\n" + save()));
  const std::string run = "run --log warn " + before;
  EXPECT_EQ(weights(2, run + " steps=2 batches=3,5 options.lr=2e-2 '~flip'", "file.safetensors"),
            trained(2, "--steps 2 --batches 3,5 --lr 2e-2"));
  EXPECT_EQ(weights(2, run + " '~steps' epochs=1 'batches=[3,5]' flip=false", "file.safetensors"),
            trained(2, "--epochs 1 --batches 3,5 --lr 1e-2"));
}

TEST_F(Run, SaysTheCommandLineOnceAtTheLevelOfTheLog) {
  const std::string text = training("  batches: [4, 4]\n  schedule: cosine\n  flip: true\n");
  const CommandResult said = run_lshdp_on(2, "run " + file(text));
  EXPECT_EQ(said.exit_code, 0) << said.output;
  EXPECT_EQ(count_lines_with(said.errors, "I lshdp train --model "), 1) << said.errors;
  EXPECT_THAT(said.errors, AllOf(HasSubstr(" --batches 4,4"), HasSubstr(" --flip"), HasSubstr(" --schedule cosine")));
  for (const char* quiet : {" --log warn", " log=warn"})
    EXPECT_THAT(run_lshdp_on(2, "run " + file(text) + quiet).errors, Not(HasSubstr("lshdp train"))) << quiet;
}

TEST_F(Run, StartsMpirunByItself) {
  const std::string text = training("  batches: 3,5\n" + save()) + kMpirun + "environment: {OMP_NUM_THREADS: 1}\n";
  const std::string wanted = trained(2, "--steps 3 --batches 3,5");
  for (const char* hosts : {"hosts: [{host: localhost, ranks: 2}]\n", "hosts: ['localhost:2']\n",
                            "hosts: localhost:2\n", "hosts: [localhost, localhost]\n"})
    EXPECT_EQ(weights(0, "run " + file(text + hosts), "file.safetensors"), wanted) << hosts;
  const CommandResult result = run_lshdp("run " + file(text) + " 'hosts=[{host:localhost,ranks:2}]'");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.errors,
              AllOf(HasSubstr("I mpirun -np 2 --host localhost:2 "), HasSubstr(" -x OMP_NUM_THREADS=1 ")));
  EXPECT_EQ(count_lines_with(result.errors, "I lshdp train --model "), 1) << result.errors;
}

TEST_F(Run, GivesTheExitCodeOfTheRanksThatItStarts) {
  const std::string text = training("  batches: 3,5,9\n  log: off\n") + kMpirun + "hosts: localhost:2\n";
  const CommandResult result = run_lshdp("run " + file(text));
  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_EQ(count_lines_with(result.errors, "lshdp train: "), 1) << result.errors;
}

TEST_F(Run, LeavesTheStartToTheFirstHost) {
  const std::string here = host_name();
  const CommandResult second = run_lshdp("run " + file(training("") + "hosts: [elsewhere, " + here + "]\n"));
  EXPECT_EQ(second.exit_code, 0) << second.output;
  EXPECT_EQ(second.output, fmt::format("elsewhere starts the ranks of this machine ({})\n", here));
  refused(training("") + "hosts: [elsewhere, nowhere]\n", "hosts has elsewhere, nowhere, but this machine is " + here);
}

TEST_F(Run, KnowsEveryKeyOfTheExample) {
  const CommandResult result = run_lshdp("run " LSHDP_CONFIGS "/run/vit.yaml");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.errors, HasSubstr("hosts has gpu1, gpu2, but this machine is "));
}

TEST_F(Run, TakesOptionsOfRanksFromTheirHosts) {
  const std::string hosts =
      "hosts:\n  - {host: localhost, ranks: 1, memory: 256MiB}\n  - {host: localhost, ranks: 1, memory: 512MiB}\n";
  const std::string path = file(training("  batches: 4,4\n") + hosts);
  const CommandResult result = run_lshdp_on(2, "run " + path);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.errors, HasSubstr(" --memory 256MiB,512MiB"));
  const CommandResult changed = run_lshdp_on(2, "run " + path + " memory=300MiB");
  EXPECT_EQ(changed.exit_code, 0) << changed.output;
  EXPECT_THAT(changed.errors, HasSubstr(" --memory 300MiB"));
  const CommandResult two = run_lshdp_on(2, "run " + path + " 'hosts=[{host:a,ranks:2,memory:256MiB}]'");
  EXPECT_THAT(two.errors, HasSubstr(" --memory 256MiB,256MiB"));
  refused("hosts: [{host: a, memory: 1GiB}, {host: b}, c]\n", "hosts has memory for some hosts, but not for b, c");
  refused("hosts: [{host: a, memory: 1GiB}]\noptions: {memory: 2GiB}\n", "options.memory stands at the hosts as well");
  refused("hosts: [{host: a, memory: '1GiB,2GiB', ranks: 2}]\n", "hosts[0].memory must be one value");
}

TEST_F(Run, RunsCommandsOfOneProcess) {
  const CommandResult result = run_lshdp("run " + file("command: init\noptions:\n  model: " + files_->path("mlp.json") +
                                                       "\n  seed: 3\n" + "  save: " + out("w.safetensors") + "\n"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_TRUE(fs::exists(out("w.safetensors")));
  refused("command: init\nhosts: [a]\n", "hosts must be left out: init runs in one process");
  // What --help calls an argument is a key, too.
  refused("command: optimize\noptions: {profile: /nowhere.json, out: " + out("plan.json") + ", log: off}\n",
          "cannot read /nowhere.json");
}

TEST_F(Run, RefusesABadFileInOneLine) {
  const CommandResult absent = run_lshdp("run /nowhere.yaml");
  EXPECT_EQ(absent.exit_code, 2);
  EXPECT_THAT(absent.errors, testing::StartsWith("lshdp run: cannot read /nowhere.yaml: "));
  refused("command: train\noptions: [1, 2\n", "run.yaml: line ");
  refused("", "run.yaml: holds no keys");
  refused("option: {}\n", "run.yaml: option is not known; did you mean options?");
  refused("command: trian\n", "did you mean train?");
  refused("command: data\n", "'data' is no command whose options a file can give");
  refused("options: 3\n", "options must be a dictionary");
  refused("options: {step: 3}\n", "run.yaml: options.step is no option of lshdp train; did you mean options.steps?");
  refused("options: {help: true}\n", "options.help is no option");
  refused("options: {flip: 3}\n", "options.flip takes no value");
  refused("options: {batches: [[1], 2]}\n", "options.batches must be a value, or a list of values");
  refused("options: {batches: {a: 1}}\n", "options.batches must be a value, or a list of values");
  refused("options: {batches: []}\n", "options.batches is an empty list");
  refused("options:\n  steps:\n", "options.steps has no value");
  refused("options: {model: FILL-IN}\n",
          "options.model is still FILL-IN: replace it by MODEL, a preset, a JSON file, ");
  refused("mpirun: --oversubscribe\n", "mpirun must be a list");
  refused("hosts: [a]\nmpirun: [-np, 3]\n", "mpirun has -np, which follows from hosts");
  refused("mpirun: [--oversubscribe]\n", "mpirun and environment are for the ranks of hosts");
  refused("environment: {A: 1}\n", "mpirun and environment are for the ranks of hosts");
  refused("environment: {A=B: 1}\n", "environment.A=B is no name of a variable");
}

TEST_F(Run, RefusesBadHostsInOneLine) {
  refused("hosts: [{host: a, rank: 1}]\n", "hosts[0].rank is not known; did you mean hosts[0].ranks?");
  refused("hosts: [{host: a, steps: 1}]\n", "hosts[0].steps is not known");
  refused("hosts: [a, {ranks: 1}]\n", "hosts[1] does not name its host");
  refused("hosts: [{host: a, ranks: 0}]\n", "hosts[0]: a host has 1 to");
  refused("hosts: [{host: a b}]\n", "hosts[0]: 'a b' is no name of a host");
  refused("hosts: []\n", "hosts must be a list");
  refused("hosts:\n", "hosts must be a list");
  refused("hosts: [a, b, a]\n", "hosts names a twice, with others between");
  refused("hosts: [localhost, b]\n", "hosts has localhost beside others");
}

TEST_F(Run, RefusesBadChangesInOneLine) {
  refused("", "holds no keys", "steps=3");
  const std::string text = training("");
  refused(text, "override step=3: lshdp train has no option step; did you mean steps?", "step=3");
  refused(text, "override steps: write key=value, or ~key", "steps");
  refused(text, "override ~steps=3: write key=value, or ~key", "'~steps=3'");
  refused(text, "override batches=[3: it ends too early", "'batches=[3'");
  refused(text, "options.steps has no value", "steps=null");
  refused(text, "did you mean train?", "command=trian");
}

TEST_F(Run, RefusesOnEveryRankWithOneLine) {
  for (const std::string change : {"step=3", "hosts=localhost:3", "command=describe"}) {
    const CommandResult result = run_lshdp_on(2, "run " + file(training("  batches: 4,4\n")) + " " + change);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_EQ(count_lines_with(result.errors, "lshdp run: "), 1) << result.errors;
  }
  EXPECT_THAT(run_lshdp_on(2, "run " + file(training("")) + " hosts=localhost:3").errors,
              HasSubstr("hosts has 3 ranks, but 2 were started"));
}

class InitConfig : public Run {
 protected:
  /// What init-config prints where no batch system tells of hosts.
  static std::string printed(const std::string& arguments = "") {
    const CommandResult result = run_command("env -u SLURM_JOB_NODELIST -u SLURM_TASKS_PER_NODE -u PBS_NODEFILE " +
                                             lshdp_binary() + " init-config " + arguments);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return result.output;
  }
  static void replace_first(std::string& text, const std::string& what, const std::string& by) {
    const std::size_t at = text.find(what);
    ASSERT_NE(at, std::string::npos) << what << " is not in\n" << text;
    text.replace(at, what.size(), by);
  }
};

TEST_F(InitConfig, ShowsEveryOptionOnce) {
  for (const cli::Command& command : cli::commands()) {
    if (command.options == nullptr || !command.in_files) continue;
    const std::string text = printed("--command " + command.name);
    const cli::Options options = command.options();
    for (const cli::Options::Definition& definition : options.definitions()) {
      const int count =
          count_lines_with(text, "  # " + definition.name + ":") + count_lines_with(text, "  " + definition.name + ":");
      EXPECT_EQ(count, definition.name == "help" ? 0 : 1) << command.name << " " << definition.name;
    }
  }
  const std::string train = printed();
  EXPECT_THAT(train, AllOf(HasSubstr("\n  # lr: 1e-3    # RATE: peak learning rate\n"), HasSubstr("\n  # flip: false "),
                           HasSubstr("\n  model: FILL-IN    # MODEL: "), HasSubstr("\n  data: FILL-IN "),
                           HasSubstr("\n  steps: FILL-IN "), HasSubstr("\n  # epochs:    # E: ")));
}

TEST_F(InitConfig, IsRunOnceItsPlaceholdersAreReplaced) {
  std::string text = printed("--hosts localhost:2");
  const CommandResult untouched = run_lshdp("run " + file(text));
  EXPECT_EQ(untouched.exit_code, 2);
  EXPECT_THAT(untouched.errors, HasSubstr(" is still FILL-IN: replace it by "));
  replace_first(text, "model: FILL-IN", "model: " + files_->path("vit.json"));
  replace_first(text, "data: FILL-IN", "data: " + files_->path("vit.h5"));
  replace_first(text, "steps: FILL-IN", "steps: 3");
  replace_first(text, "# batches: auto", "batches: 3,5");
  replace_first(text, "# threads:", "threads: 1");
  replace_first(text, "# mpirun: [--mca, btl_tcp_if_include, eth0]\n", kMpirun);
  replace_first(text, "# save:", "save: " + out("file.safetensors"));
  EXPECT_EQ(weights(0, "run " + file(text), "file.safetensors"), trained(2, "--steps 3 --batches 3,5"));
}

TEST_F(InitConfig, WithDefaultsThatAreNoCommentsIsTheSame) {
  std::string text = printed("--hosts localhost:1");
  for (const std::string option : {"lr", "flip", "mode", "device", "checkpoint-every", "epsilon", "log"})
    replace_first(text, "  # " + option + ": ", "  " + option + ": ");
  const CommandResult result =
      run_lshdp_on(1, "run " + file(text) + " batches=8 threads=1 steps=3 model=" + files_->path("vit.json") +
                          " data=" + files_->path("vit.h5") + " save=" + out("file.safetensors"));
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(read_file(out("file.safetensors")), trained(0, "--steps 3 --batches 8"));
}

TEST_F(InitConfig, KnowsItsHosts) {
  EXPECT_THAT(printed(), HasSubstr("hosts:\n  - {host: " + host_name() + ", ranks: 1}\n"));
  EXPECT_THAT(printed("--hosts a:1,b:2"), HasSubstr("hosts:\n  - {host: a, ranks: 1}\n  - {host: b, ranks: 2}\n"));
  write_file(out("hosts"), "# nodes\na slots=2\nb\n");
  EXPECT_THAT(printed("--hosts " + out("hosts")),
              HasSubstr("hosts:\n  - {host: a, ranks: 2}\n  - {host: b, ranks: 1}\n"));
  const std::string slurm = "SLURM_JOB_NODELIST='n[1-2]' SLURM_TASKS_PER_NODE='4(x2)' ";
  EXPECT_THAT(run_command(slurm + lshdp_binary() + " init-config").output,
              HasSubstr("hosts:\n  - {host: n1, ranks: 4}\n  - {host: n2, ranks: 4}\n"));
  const CommandResult pbs =
      run_command("env -u SLURM_JOB_NODELIST PBS_NODEFILE=" + out("hosts") + " " + lshdp_binary() + " init-config");
  EXPECT_THAT(pbs.output, HasSubstr("  - {host: a, ranks: 2}\n"));
  EXPECT_THAT(printed("--command optimize"), Not(HasSubstr("hosts")));
}

TEST_F(InitConfig, RefusesWhatItCannotDo) {
  const auto refuse = [](const std::string& arguments, const std::string& message) {
    const CommandResult result = run_lshdp("init-config " + arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_THAT(result.errors, HasSubstr(message));
    EXPECT_EQ(count_lines_with(result.errors, "lshdp init-config: "), 1) << result.errors;
  };
  refuse("--command trian", "did you mean train?");
  refuse("--command optimize --hosts a:1", "--hosts: optimize runs in one process");
  refuse("--hosts nowhere", "--hosts: there is no file nowhere; write a host as nowhere:1");
  refuse("--hosts a:x", "--hosts: 'x' is not a whole number");
  const std::string path = out("new/vit.yaml");
  EXPECT_THAT(printed("--out " + path), HasSubstr("written to " + path));
  EXPECT_THAT(read_file(path), HasSubstr("command: train\n"));
  refuse("--out " + path, "--out: " + path + " is there already");
}

}  // namespace
}  // namespace lshdp::test
