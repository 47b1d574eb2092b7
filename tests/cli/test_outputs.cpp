// What every command writes is looked at before it works, never replaces what it reads, and is there when it says so.
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "plan/profiles.h"
#include "program.h"
#include "training_files.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

class Outputs : public TrainingFixture<> {
 protected:
  static void SetUpTestSuite() {
    TrainingFixture::SetUpTestSuite();
    using plan::test::linear_rank;
    plan::write_profile(files_->path("profile.json"),
                        plan::test::make_profile({linear_rank(8, 0.001, 1e-3), linear_rank(8, 0.001, 2e-3)}));
    EXPECT_EQ(run_lshdp(init() + " --save " + files_->path("w.safetensors")).exit_code, 0);
  }
  static std::string init() { return "init --model " + files_->path("vit.json"); }
  static std::string train() { return "train --batches 4 --steps 1 " + files_->options("vit"); }
  static std::string optimize() { return "optimize " + files_->path("profile.json"); }
  static std::string describe() { return "describe --model " + files_->path("vit.json"); }
  static std::string measure(const std::string& command) {
    return command + " --threads 1 --model " + files_->path("vit.json");
  }

  /// Each command with the option that names what it writes.
  static std::vector<std::pair<std::string, std::string>> commands() {
    return {{init(), "--save"},
            {train(), "--save"},
            {describe(), "--json"},
            {optimize(), "--out"},
            {optimize() + " --scale 4 --out " + files_->path("plan.json"), "--scale-out"},
            {measure("max-batch") + " --max 1", "--out"},
            {measure("memory") + " --batch 4", "--out"},
            {measure("profile") + " --total 1 --curve-seconds 0.1", "--out"}};
  }
  static void expect_refused(const std::string& command, const std::string& message) {
    const CommandResult result = run_lshdp(command + " --log off");
    EXPECT_EQ(result.exit_code, 2) << command;
    EXPECT_EQ(count_lines_with(result.errors, "lshdp "), 1) << command << result.errors;
    EXPECT_THAT(result.errors, HasSubstr(message)) << command;
    EXPECT_EQ(result.output, result.errors) << command << " has worked before it looked";
  }
};

TEST_F(Outputs, AreRefusedBeforeTheWorkWhereTheyCannotBe) {
  for (const auto& [command, option] : commands()) {
    expect_refused(command + " " + option + " ''", ": " + option + " has an empty value");
    expect_refused(command + " " + option + " " + folder_.path().string(), ": " + option + ": ");
    expect_refused(command + " " + option + " /dev/full", "is a device or a pipe");
  }
}

TEST_F(Outputs, OfWorkThatIsRefusedLeaveNoFolder) {
  const std::string file = (folder_ / "new/deep/file").string(), none = (folder_ / "none").string();
  for (const std::string& command :
       {"init --model " + none + " --save " + file, "optimize " + none + " --out " + file,
        measure("max-batch") + " --memory 1MiB,1MiB --out " + file,
        measure("memory") + " --batch 4 --memory 1MiB,1MiB --out " + file,
        measure("profile") + " --device cuda,cuda --out " + file, "export " + none + " --out " + file}) {
    const CommandResult result = run_lshdp(command + " --log off");
    EXPECT_NE(result.exit_code, 0) << command;
    EXPECT_TRUE(fs::is_empty(folder_.path())) << command;
  }
}

TEST_F(Outputs, NeverReplaceAnInput) {
  const auto kept = [&](const std::string& command, const std::string& option, const std::string& input) {
    const std::string before = read_file(input);
    expect_refused(command + " " + option + " " + input, ": " + option + " ");
    EXPECT_EQ(read_file(input), before) << command;
  };
  const std::string model = files_->path("vit.json"), data = files_->path("vit.h5");
  kept(init(), "--save", model);
  kept(train(), "--save", data);
  kept(train(), "--save", model);
  kept(train() + " --eval-data " + files_->path("mlp.h5"), "--save", files_->path("mlp.h5"));
  kept(train() + " --init " + files_->path("w.safetensors"), "--save", files_->path("w.safetensors"));
  kept(describe(), "--json", model);
  kept(optimize(), "--out", files_->path("profile.json"));
  kept(optimize() + " --scale 4 --out " + files_->path("plan.json"), "--scale-out", files_->path("profile.json"));
  kept(measure("max-batch"), "--out", model);
  kept(measure("memory"), "--out", model);
  kept(measure("profile"), "--out", model);
  kept(measure("profile") + " --data " + data, "--out", data);
  const std::string both = " --scale 4 --out " + files_->path("one.json") + " --scale-out " + files_->path("one.json");
  expect_refused(optimize() + both, "--scale-out");
}

TEST_F(Outputs, OfEveryCommandFailWhereStandardOutputIsFull) {
  const std::string file = (folder_ / "file").string();
  const std::string weights = files_->path("w.safetensors"), vit = files_->options("vit");
  for (const std::string& command :
       {"data info " + files_->path("vit.h5"), init() + " --save " + file, train(), describe(),
        optimize() + " --out " + file, measure("max-batch") + " --max 1 --out " + file,
        measure("memory") + " --batch 4", measure("profile") + " --total 1 --curve-seconds 0.1 --out " + file,
        "evaluate " + vit + " --init " + weights}) {
    const CommandResult result = run_lshdp(command + " --log off >/dev/full");
    EXPECT_EQ(result.exit_code, 1) << command;
    EXPECT_THAT(result.errors, HasSubstr(": cannot write standard output: No space left on device\n")) << command;
    EXPECT_EQ(count_lines_with(result.errors, "lshdp "), 1) << command << result.errors;
  }
}

TEST_F(Outputs, AndModelsMayHaveNamesOfAnyBytes) {
  const std::string here = "cd " + folder_.path().string() + " && " + lshdp_binary() + " ";
  fs::copy_file(files_->path("vit.json"), folder_ / "n\351.json");
  const std::string model = " --log off --model 'n\351.json' ", data = " --data " + files_->path("vit.h5") + " ";
  for (const std::string& command :
       {"init" + model + "--save 'w\351'", "train --batches 4 --steps 2 --results 'r\351'" + model + data,
        "evaluate --init 'w\351'" + model + data, "max-batch --max 1 --out 'b\351'" + model,
        "memory --batch 4 --out 'm\351'" + model, "profile --total 4 --curve-seconds 0.1 --out 'p\351'" + model,
        std::string("optimize --total 4 --out 'o\351' 'p\351'"),
        "train --batches 'o\351' --profile 'p\351' --steps 2" + model + data, std::string("report 'r\351'")}) {
    const CommandResult result = run_command(here + command);
    EXPECT_EQ(result.exit_code, 0) << command << result.errors;
    EXPECT_EQ(result.errors, "") << command;
  }
  EXPECT_TRUE(fs::exists(folder_ / "r\351/report.png"));
}

TEST_F(Outputs, AreNotMistakenForInputs) {
  const std::string profile = files_->path("profile.json"), plan = files_->path("plan.json");
  EXPECT_EQ(run_lshdp(optimize() + " --out " + plan).exit_code, 0);
  expect_refused("optimize " + plan + " --out " + files_->path("other.json"), plan + ": this is a plan, not a profile");
  expect_refused(train() + " --profile " + plan, "this is a plan, not a profile");
  expect_refused("train --steps 1 --batches " + profile + " " + files_->options("vit"),
                 "this is a profile, not a plan");
  expect_refused("memory --batch 4 --model " + plan, "this is a plan, not a model's description");
  expect_refused("max-batch --model " + files_->path("w.safetensors"), "this is a safetensors file");
  expect_refused("optimize " + files_->path("vit.h5") + " --out o.json", "this is an HDF5 file");
}

}  // namespace
}  // namespace lshdp::test
