// lshdp describe: its tables, its JSON, and each bad input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/plan/layout.h"
#include "program.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class Describe : public testing::Test {
 protected:
  Describe() {
    write_file(model_, R"({"type":"mlp","input_size":784,"hidden_sizes":[512,256],"output_size":10})");
    plan::Layout layout{.blocks = 3};
    layout.replicas = {{8, {4, 4}, {{.rank = 1, .start = 0, .end = 2}, {.rank = 0, .start = 2, .end = 3}}}};
    plan::write_layout(layout_, layout);
  }
  CommandResult describe(const std::string& more) const {
    return run_lshdp("describe --model " + model_.string() + " " + more);
  }

  TemporaryDirectory folder_;
  std::filesystem::path model_ = folder_ / "tiny.json", layout_ = folder_ / "layout.json";
};

TEST_F(Describe, ShowsBlocks) {
  const CommandResult result = describe("");
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("tiny: 535,818 parameters"), HasSubstr("401,920"), HasSubstr("784")));
}

TEST_F(Describe, ShowsAndWritesWhoHoldsThem) {
  const std::string file = (folder_ / "new/description.json").string();
  const CommandResult result = describe("--layout " + layout_.string() + " --json " + file);
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_THAT(result.output, AllOf(HasSubstr("ranks"), HasSubstr("0..1")));
  const Json json = read_json(file);
  EXPECT_EQ(json["blocks"][0]["ranks"], Json::array({1}));
  EXPECT_EQ(json["ranks"][1]["parameters"], 533'248);
}

TEST_F(Describe, RefusesALayoutOfAnotherModel) {
  plan::Layout layout{.blocks = 7};
  layout.replicas = {{8, {8}, {{.rank = 0, .start = 0, .end = 7}}}};
  plan::write_layout(layout_, layout);
  const CommandResult result = describe("--layout " + layout_.string());
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.errors, HasSubstr("layout.json: is a layout of 7 blocks, but the model has 3"));
}

}  // namespace
}  // namespace lshdp::test
