// lshdp init: weights are written whole, are a function of the seed, and wrong input is refused with exit code 2.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "program.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

using testing::HasSubstr;

class Init : public testing::Test {
 protected:
  void SetUp() override {
    write_file(folder / "tiny.json", R"({"type":"mlp","input_size":6,"hidden_sizes":[5,4],"output_size":3})");
  }
  CommandResult init(const std::string& name, const std::string& more = "") const {
    return run_lshdp("init --model " + (folder / "tiny.json").string() + " --save " + (folder / name.c_str()).string() +
                     " " + more);
  }
  TemporaryDirectory folder;
};

TEST_F(Init, WritesAFunctionOfTheSeedAndSaysHowManyParameters) {
  const CommandResult first = init("a", "--seed 7");
  EXPECT_EQ(first.exit_code, 0) << first.errors;
  EXPECT_THAT(first.output, HasSubstr("tiny: 74 parameters"));
  init("b", "--seed 7");
  init("c", "--seed 8");
  EXPECT_EQ(read_file(folder / "a"), read_file(folder / "b"));
  EXPECT_NE(read_file(folder / "a"), read_file(folder / "c"));
}

TEST_F(Init, RefusesWrongInputAndAnUnwritablePlaceWithExitCode2) {
  const CommandResult unknown = run_lshdp("init --model vit_b_17 --save " + (folder / "w").string());
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.errors, HasSubstr("model 'vit_b_17' is not known; use one of vit_b_16"));
  EXPECT_EQ(init("a", "--seed -1").exit_code, 2);
  const CommandResult unwritable = init("tiny.json/w");
  EXPECT_EQ(unwritable.exit_code, 2);
  EXPECT_EQ(count_lines_with(unwritable.errors, "lshdp init: --save: cannot "), 1) << unwritable.errors;
}

}  // namespace
}  // namespace lshdp::test
