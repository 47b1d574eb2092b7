// lshdp report: tables and pictures of hand-made run directories, and each bad input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "program.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Json header(bool predicted) {
  Json json = Json::parse(R"({"record":"run","version":1,"model":"vit","mode":"ddp","precision":"fp32","total":12,
    "ranks":[{"rank":0,"host":"fast","batch":8,"max_batch":64,"speed":1},
             {"rank":1,"host":"slow","batch":4,"max_batch":0,"speed":0.5}],"predicted":null})");
  if (predicted) {
    json["predicted"] = Json::parse(R"({"step_seconds":0.18,"samples_per_second":66.7,"compute_seconds":[0.17,0.16],
                                        "communication_seconds":0.02,"exposed_seconds":0.01})");
  }
  return json;
}

Json step(int number, double seconds) {
  return {{"record", "step"},
          {"step", number},
          {"epoch", 0},
          {"loss", 2.0 / number},
          {"learning_rate", 1e-3},
          {"gradient_norm", nullptr},
          {"samples", 12},
          {"step_seconds", seconds},
          {"samples_per_second", 12 / seconds},
          {"compute_seconds", {0.9 * seconds, 0.8 * seconds}},
          {"communication_seconds", {0.1 * seconds, 0.1 * seconds}},
          {"wait_seconds", {0.05 * seconds, 0.15 * seconds}}};
}

const char* const kEvaluation = R"({"record":"evaluation","step":20,"loss":0.125,"accuracy":0.875,"samples":100})";

class Report : public testing::Test {
 protected:
  /// A run of 20 steps of `seconds`, the first one slow.
  fs::path make_run(const std::string& name, double seconds, bool predicted) const {
    std::string text = header(predicted).dump() + '\n';
    for (int number = 1; number <= 20; ++number)
      text += step(number, number == 1 ? 100 * seconds : seconds).dump() + '\n';
    return write_run(name, text + kEvaluation + '\n');
  }
  fs::path write_run(const std::string& name, const std::string& metrics) const {
    const fs::path folder = folder_.path() / name;
    fs::create_directories(folder);
    write_file(folder / "metrics.jsonl", metrics);
    return folder;
  }
  void expect_refusal(const std::string& metrics, const std::string& message) const {
    const CommandResult result = run_lshdp("report " + write_run("bad", metrics).string());
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.errors, HasSubstr(message));
    EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
  }

  TemporaryDirectory folder_;
};

void expect_picture(const fs::path& path) {
  ASSERT_TRUE(fs::exists(path)) << path;
  EXPECT_EQ(read_file(path).substr(0, 4), "\x89PNG");
  EXPECT_GT(fs::file_size(path), 20'000U);
}

TEST_F(Report, TabulatesAndDrawsARun) {
  const fs::path run = make_run("auto", 0.2, true);
  const CommandResult result = run_lshdp("report " + run.string());
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  // The slow first step is warm-up; 12 samples in 0.2 s; 0.18 s predicted against 0.2 s.
  EXPECT_THAT(result.output, AllOf(HasSubstr("auto"), HasSubstr("vit"), HasSubstr("200 ms"), HasSubstr("60"),
                                   HasSubstr("-10.0 %"), HasSubstr("87.50 %"), HasSubstr("0.1250")));
  EXPECT_THAT(result.output, AllOf(HasSubstr("fast"), HasSubstr("slow"), HasSubstr("180 ms"), HasSubstr("30 ms")));
  expect_picture(run / "report.png");
}

TEST_F(Report, ComparesSeveralRunsWithTheFirst) {
  const fs::path equal = make_run("equal", 0.5, false), planned = make_run("auto", 0.2, true);
  const fs::path picture = folder_ / "both.png";
  const CommandResult result =
      run_lshdp("report " + equal.string() + "/ " + planned.string() + " --out " + picture.string());
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("equal"), HasSubstr("1.00"), HasSubstr("2.50")));
  expect_picture(picture);
}

TEST_F(Report, ShowsWhereTheSplitChanged) {
  std::string text = header(true).dump() + '\n';
  for (int number = 1; number <= 20; ++number) {
    Json record = step(number, number < 11 ? 0.4 : 0.25);
    record["batches"] = number < 11 ? Json({8, 4}) : Json({9, 3});
    text += record.dump() + '\n';
  }
  const std::string change =
      R"({"record":"rebalance","step":11,"batches_before":[8,4],"batches":[9,3],"slowness_before":[1,1],"slowness":[1,2],)"
      R"("step_seconds":0.4,"expected_step_seconds":0.24,"profiled":true})";
  const fs::path run = write_run("moved", text + change + '\n');
  const CommandResult result = run_lshdp("report " + run.string());
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("rebalanced at step"), HasSubstr("8,4"), HasSubstr("9,3"),
                                   HasSubstr("400 ms"), HasSubstr("240 ms"), HasSubstr("250 ms")));
  expect_picture(run / "report.png");
  expect_refusal(header(false).dump() + "\n{\"record\":\"rebalance\",\"step\":2}\n", "batches_before");
}

TEST_F(Report, TakesTimesOfTheLastLaunchAndLossesOfAll) {
  Json on_three = header(false);
  on_three["ranks"].push_back({{"rank", 2}, {"host", "new"}, {"batch", 0}, {"max_batch", 0}, {"speed", 1}});
  on_three["resumed_after"] = 2;
  std::string text = header(true).dump() + '\n';
  for (int number = 1; number <= 2; ++number) text += step(number, 7).dump() + '\n';
  text += on_three.dump() + '\n';
  for (int number = 3; number <= 5; ++number) {
    Json record = step(number, number == 3 ? 50 : 0.2);
    for (const char* key : {"compute_seconds", "communication_seconds", "wait_seconds"}) record[key].push_back(0.01);
    text += record.dump() + '\n';
  }
  const fs::path run = write_run("resumed", text);
  const CommandResult result = run_lshdp("report " + run.string());
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("200 ms"), HasSubstr("new"), HasSubstr("0.4000")));
  EXPECT_THAT(result.output, Not(HasSubstr("7 s")));
  expect_picture(run / "report.png");
  expect_refusal(header(true).dump() + '\n' + step(1, 1).dump() + '\n' + on_three.dump() + '\n' + step(2, 1).dump() +
                     '\n' + step(3, 1).dump() + '\n',
                 "each of 3 ranks");
}

TEST_F(Report, DrawsTheFiguresOfItsTables) {
  std::string text = header(false).dump() + '\n';
  for (int number = 1; number <= 3; ++number) text += step(number, number == 1 ? 20 : 0.2).dump() + '\n';
  const fs::path run = write_run("short", text);
  const CommandResult table = run_lshdp("report " + run.string());
  EXPECT_THAT(table.output, HasSubstr("200 ms"));
  write_file(folder_ / "mean.py",
             "import sys\nsys.path.insert(0, sys.argv[1])\nimport plot_results\n"
             "print(plot_results.Run(sys.argv[2]).mean('step_seconds'))\n");
  const std::string scripts = LSHDP_TEST_SCRIPTS;
  const CommandResult drawn = run_command(scripts + "/../.venv/bin/python " + (folder_ / "mean.py").string() + " " +
                                          scripts + " " + run.string());
  EXPECT_EQ(drawn.exit_code, 0) << drawn.errors;
  EXPECT_EQ(drawn.output, "0.2\n");
}

TEST_F(Report, WritesAPageThatLoadsNothing) {
  const fs::path run = make_run("a<b", 0.2, true), page = folder_ / "pages/run.html";
  write_file(run / "run.json",
             R"({"version":1,"resumes":[],"command":["lshdp","train","--data","x&y.h5"],"started":"2026-11-28",)"
             R"("program":"lshdp","options":{"lr":"1e-3","data":"x&y.h5"}})");
  write_file(run / "trace.json",
             R"([{"ph":"M","pid":0,"tid":0,"name":"process_name","args":{"name":"rank 0"}},)"
             R"({"ph":"X","pid":0,"tid":0,"cat":"compute","name":"forward <1>","ts":0,"dur":5000}])");
  const CommandResult result = run_lshdp("report '" + run.string() + "' --html " + page.string());
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("87.50 %"), HasSubstr("wrote " + page.string())));
  EXPECT_FALSE(fs::exists(run / "report.png"));
  const std::string html = read_file(page);
  EXPECT_THAT(html, AllOf(testing::StartsWith("<!DOCTYPE html>"), HasSubstr("a&lt;b"), HasSubstr("x&amp;y.h5"),
                          HasSubstr("Planned step 180 ms, measured 200 ms (planned is -10.0 %)"),
                          HasSubstr("Rank 1 (slow, cpu)"), HasSubstr("forward &lt;1&gt;, 5 ms"),
                          HasSubstr("evaluation: 0.125 at 20")));
  for (const char* outside : {"http:", "https:", "src=", "<script", "@import", "url("})
    EXPECT_THAT(html, Not(HasSubstr(outside)));
}

TEST_F(Report, WritesAPageOfARunThatHasLittleToTell) {
  Json only = step(1, 0.2);
  only["loss"] = nullptr;
  const fs::path run = write_run("short", header(false).dump() + '\n' + only.dump() + '\n');
  const CommandResult result = run_lshdp("report " + run.string() + " --html " + (run / "report.html").string());
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(read_file(run / "report.html"), AllOf(HasSubstr("there was no plan"), Not(HasSubstr("Configuration"))));
}

TEST_F(Report, RefusesAPageThatItCannotWrite) {
  const std::string run = make_run("one", 0.2, true).string(), other = make_run("two", 0.2, true).string();
  EXPECT_THAT(run_lshdp("report " + run + " " + other + " --html x.html").errors,
              HasSubstr("--html: a page tells of one"));
  EXPECT_THAT(run_lshdp("report " + run + " --out a.png --html x.html").errors, HasSubstr("exclude each other"));
  const CommandResult nowhere = run_lshdp("report " + run + " --html /dev/null/x.html");
  EXPECT_EQ(nowhere.exit_code, 2);
  EXPECT_THAT(nowhere.errors, testing::StartsWith("lshdp report: --html"));
}

TEST_F(Report, PassesOverALastLineThatWasCutOff) {
  const fs::path run = make_run("cut", 0.2, false);
  write_file(run / "metrics.jsonl", read_file(run / "metrics.jsonl") + R"({"record":"step","st)");
  const CommandResult result = run_lshdp("report " + run.string());
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  expect_picture(run / "report.png");
}

TEST_F(Report, DrawsARunOfOneStepWithoutLoss) {
  Json only = step(1, 0.2);
  only["loss"] = nullptr;
  const fs::path run = write_run("short", header(false).dump() + '\n' + only.dump() + '\n');
  const CommandResult result = run_lshdp("report " + run.string());
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  expect_picture(run / "report.png");
}

TEST_F(Report, RefusesAFolderThatIsNoRun) {
  const CommandResult result = run_lshdp("report " + folder_.path().string());
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("no metrics.jsonl"), HasSubstr("--results")));
  EXPECT_EQ(run_lshdp("report").exit_code, 2);
}

TEST_F(Report, RefusesDamagedMetricsNamingTheLine) {
  const std::string first = header(false).dump() + '\n';
  expect_refusal("", "no step");
  expect_refusal(first, "no step");
  expect_refusal(first + "{\"record\n" + step(2, 1).dump() + '\n', "line 2");
  expect_refusal(step(1, 1).dump() + '\n', "must be \"run\" on the first line");
  expect_refusal(first + R"({"record":"guess"})" + '\n', "is 'guess'");
  expect_refusal(first + step(2, 1).dump() + '\n' + step(2, 1).dump() + '\n', "must rise");
  Json short_step = step(1, 1);
  short_step["wait_seconds"] = {1};
  expect_refusal(first + short_step.dump() + '\n', "each of 2 ranks");
  Json other = header(false);
  other["version"] = 7;
  expect_refusal(other.dump() + '\n', "version 7");
}

TEST_F(Report, SaysWhyItCannotDraw) {
  const fs::path run = make_run("auto", 0.2, true);
  CommandResult result = run_command("LSHDP_SCRIPTS=/nowhere " + lshdp_binary() + " report " + run.string());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("cannot draw"), HasSubstr("LSHDP_SCRIPTS")));
  EXPECT_THAT(result.output, HasSubstr("87.50 %"));
  result = run_lshdp("report " + run.string() + " --out " + (folder_ / "picture.word").string());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("picture.word: its name must end in one of"), HasSubstr(".png"),
                                   Not(HasSubstr("Traceback"))));
}

TEST_F(Report, RefusesAPictureThatCannotBeWrittenBeforeItPrints) {
  const fs::path run = make_run("auto", 0.2, true);
  for (const std::string& picture : {std::string("''"), folder_.path().string(), std::string("/dev/null/p.png")}) {
    const CommandResult result = run_lshdp("report " + run.string() + " --out " + picture);
    EXPECT_EQ(result.exit_code, 2) << picture;
    EXPECT_THAT(result.errors, testing::StartsWith("lshdp report: --out")) << picture;
    EXPECT_EQ(result.output, result.errors) << picture;
  }
}

TEST_F(Report, DrawsRunsWithNamesOfAnyBytes) {
  for (const char* name : {"r\351", "-r", "a$b$c", "two\nlines"}) {
    const fs::path run = make_run(name, 0.2, true);
    const CommandResult result =
        run_command("cd '" + folder_.path().string() + "' && " + lshdp_binary() + " report -- '" + name + "'");
    EXPECT_EQ(result.exit_code, 0) << name << result.errors;
    EXPECT_EQ(result.errors, "") << name;
    expect_picture(run / "report.png");
  }
}

TEST_F(Report, SaysThatMatplotlibIsMissing) {
  const fs::path run = make_run("auto", 0.2, true);
  fs::create_directories(folder_ / "tree/scripts");
  fs::create_directories(folder_ / "tree/.venv/bin");
  fs::copy_file(fs::path(LSHDP_TEST_SCRIPTS) / "plot_results.py", folder_ / "tree/scripts/plot_results.py");
  // -S hides every installed package.
  write_file(folder_ / "tree/.venv/bin/python", "#!/bin/sh\nexec python3 -S \"$@\"\n");
  fs::permissions(folder_ / "tree/.venv/bin/python", fs::perms::owner_all);
  const std::string environment = "LSHDP_SCRIPTS=" + (folder_ / "tree/scripts").string() + " ";
  const CommandResult result = run_command(environment + lshdp_binary() + " report " + run.string());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("has no matplotlib"), HasSubstr("scripts/setup.sh")));
}

}  // namespace
}  // namespace lshdp::test
