// lshdp diagram: pictures and their text, and each bad input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/core/run_program.h"
#include "lshdp/plan/layout.h"
#include "plan/profiles.h"
#include "program.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

class Diagram : public testing::Test {
 protected:
  Diagram() {
    using plan::test::linear_rank;
    plan::Layout layout{.blocks = 3};
    layout.replicas = {{8, {4, 4}, {{.rank = 0, .start = 0, .end = 2}, {.rank = 1, .start = 2, .end = 3}}}};
    plan::write_layout(layout_, layout);
    plan::write_profile(profile_, plan::test::make_profile({linear_rank(8, 0.001, 1e-3), linear_rank(8, 0.001, 2e-3)}));
  }
  CommandResult diagram(const std::string& out, const std::string& more = "") const {
    return run_lshdp("diagram " + layout_.string() + " --out " + (folder_.path() / out).string() + " " + more);
  }
  std::string content(const std::string& name) const { return read_file(folder_.path() / name); }
  void expect_refusal(const CommandResult& result, const std::string& message) const {
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.errors, HasSubstr(message));
    EXPECT_EQ(count_lines_with(result.errors, ""), 1) << result.errors;
  }

  TemporaryDirectory folder_;
  fs::path layout_ = folder_ / "layout.json", profile_ = folder_ / "profile.json";
};

TEST_F(Diagram, WritesTextWithoutGraphviz) {
  const CommandResult result = diagram("new/a.dot");
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, HasSubstr("wrote " + (folder_ / "new/a.dot").string()));
  EXPECT_THAT(content("new/a.dot"), StartsWith("digraph layout {"));
  EXPECT_EQ(diagram("a.mmd", "--profile " + profile_.string()).exit_code, 0);
  EXPECT_THAT(content("a.mmd"), HasSubstr("[\"node\"]"));
}

TEST_F(Diagram, DrawsByGraphviz) {
  if (!find_program("dot")) GTEST_SKIP() << "no Graphviz here";
  for (const auto& [name, begin] : {std::pair{"a.svg", "<?xml"}, {"a.png", "\x89PNG"}, {"a.pdf", "%PDF-"}}) {
    const CommandResult result = diagram(name, "--profile " + profile_.string());
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_THAT(content(name), StartsWith(begin));
  }
  EXPECT_THAT(content("a.svg"), HasSubstr("rank 1, stage 2 of 2"));
}

TEST_F(Diagram, RefusesPicturesWithoutGraphviz) {
  const CommandResult result = run_command("PATH=/no/such/folder " + lshdp_binary() + " diagram " + layout_.string() +
                                           " --out " + (folder_ / "a.svg").string());
  expect_refusal(result,
                 "--out: .svg needs Graphviz, whose program dot is not in PATH; apt install graphviz, or write "
                 ".dot or .mmd");
}

TEST_F(Diagram, LeavesNothingWhereGraphvizFails) {
  const fs::path tools = folder_ / "tools";
  fs::create_directory(tools);
  write_file(tools / "dot", "#!/bin/sh\nexit 3\n");
  fs::permissions(tools / "dot", fs::perms::owner_all);
  const fs::path out = folder_ / "new/a.svg";
  const CommandResult result = run_command("PATH=" + tools.string() + ":$PATH " + lshdp_binary() + " diagram " +
                                           layout_.string() + " --out " + out.string());
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.errors, HasSubstr("cannot draw " + out.string() + ": dot of Graphviz ended with exit code 3"));
  EXPECT_FALSE(fs::exists(out.parent_path()));
}

TEST_F(Diagram, RefusesWhatCannotBeDrawn) {
  expect_refusal(diagram("a.jpg"), "--out: " + (folder_ / "a.jpg").string() + " must end with .svg, .png, .pdf, .dot");
  expect_refusal(diagram("a"), "must end with");
  expect_refusal(run_lshdp("diagram " + (folder_ / "none.json").string() + " --out " + (folder_ / "a.dot").string()),
                 "none.json");
  expect_refusal(run_lshdp("diagram " + profile_.string() + " --out " + (folder_ / "a.dot").string()),
                 "this is a profile, not a layout");
  EXPECT_FALSE(fs::exists(folder_ / "a.dot"));
}

TEST_F(Diagram, RefusesAProfileOfOtherRanks) {
  plan::write_profile(profile_, plan::test::make_profile({plan::test::linear_rank(8, 0.001, 1e-3)}));
  expect_refusal(diagram("a.dot", "--profile " + profile_.string()),
                 "profile.json: has no rank 1, which the layout has");
}

TEST_F(Diagram, NeverReplacesItsInput) {
  const fs::path input = folder_ / "layout.dot";
  fs::copy_file(layout_, input);
  const std::string before = read_file(input);
  expect_refusal(run_lshdp("diagram " + input.string() + " --out " + input.string()), ": --out ");
  EXPECT_EQ(read_file(input), before);
}

}  // namespace
}  // namespace lshdp::test
