// lshdp data: the real binary converts, tells what it wrote, and refuses what is wrong with exit code 2 and one line.
#include <algorithm>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "program.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;

class DataCommand : public testing::Test {
 protected:
  /// Runs `lshdp data ARGUMENTS` in the folder.
  CommandResult run(const std::string& arguments) {
    return run_command("cd " + folder_.path().string() + " && " + lshdp_binary() + " data " + arguments);
  }
  /// One line on standard error, exit code 2, no output.
  std::string refused(const std::string& arguments) {
    const CommandResult result = run(arguments);
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
    EXPECT_EQ(result.output, result.errors);
    EXPECT_FALSE(std::filesystem::exists(folder_ / "out.h5"));
    EXPECT_FALSE(std::filesystem::exists(folder_ / "out.h5.tmp"));
    return result.errors;
  }
  void file(const char* name, const std::string& content) { write_file(folder_ / name, content); }

  TemporaryDirectory folder_;
};

TEST_F(DataCommand, MakesImagesAndTellsWhatIsInThem) {
  EXPECT_EQ(
      run("synthetic-images --count 40 --channels 1 --size 8 --classes 3 --seed 5 --class-names a,b,c --out out.h5")
          .exit_code,
      0);
  const CommandResult info = run("info out.h5");
  EXPECT_EQ(info.exit_code, 0);
  EXPECT_THAT(info.output,
              AllOf(HasSubstr("1 x 8 x 8"), HasSubstr("synthetic images, seed 5"), ContainsRegex("2 +c +[0-9]+")));
}

TEST_F(DataCommand, SplitsATextInOneGo) {
  file("a.txt", std::string(900, 'a') + std::string(100, 'b'));
  EXPECT_EQ(run("text a.txt --out out.h5 --validation-fraction 0.1 --validation-out v.h5").exit_code, 0);
  EXPECT_THAT(run("info out.h5").output, AllOf(ContainsRegex("tokens +900"), ContainsRegex("tokenizer +byte")));
  EXPECT_THAT(run("info v.h5").output, ContainsRegex("tokens +100"));
}

TEST_F(DataCommand, ConvertsIdxWithTheStatisticsOfAnotherSet) {
  file("i", std::string("\0\0\x08\3\0\0\0\2\0\0\0\1\0\0\0\1", 16) + "ab");
  file("l", std::string("\0\0\x08\1\0\0\0\2\0\1", 10));
  ASSERT_EQ(run("synthetic-images --count 40 --channels 1 --size 8 --classes 3 --out train.h5").exit_code, 0);
  ASSERT_EQ(run("idx --images i --labels l --statistics-of train.h5 --out out.h5").exit_code, 0);
  const auto line_of = [&](const std::string& name, const std::string& key) {
    const std::string text = run("info " + name).output;
    return text.substr(text.find(key), text.find('\n', text.find(key)) - text.find(key));
  };
  EXPECT_EQ(line_of("out.h5", "deviation"), line_of("train.h5", "deviation"));
}

TEST_F(DataCommand, ConvertsTokens) {
  file("t.bin", std::string("\1\0\2\0\3\0", 6));
  EXPECT_EQ(run("tokens t.bin --dtype u16 --vocabulary 700 --out out.h5").exit_code, 0);
  EXPECT_THAT(run("info out.h5").output, AllOf(ContainsRegex("tokens +3"), ContainsRegex("vocabulary +700")));
  EXPECT_EQ(run("synthetic-tokens --count 1000 --vocab 10 --out out.h5").exit_code, 0);
}

TEST_F(DataCommand, ExplainsItself) {
  EXPECT_THAT(run("--help").output, HasSubstr("synthetic-tokens"));
  for (const char* kind :
       {"idx", "cifar10", "images", "text", "tokens", "synthetic-images", "synthetic-tokens", "info"}) {
    const CommandResult help = run(std::string(kind) + " --help");
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_THAT(help.output, AllOf(HasSubstr(std::string("Usage: lshdp data ") + kind), HasSubstr("Example:")));
  }
}

TEST_F(DataCommand, RefusesWrongUsage) {
  EXPECT_THAT(refused(""), HasSubstr("the kind is missing; choose from idx"));
  EXPECT_THAT(refused("nonsense"), HasSubstr("unknown kind 'nonsense'"));
  EXPECT_THAT(refused("synthetic-images --count 4"), HasSubstr("--out"));
  EXPECT_THAT(refused("synthetic-images --count 0 --out out.h5"), HasSubstr("--count"));
  EXPECT_THAT(refused("synthetic-images --count 4 --out no/such/out.h5"), HasSubstr("cannot create no/such/out.h5"));
  file("a.txt", "text");
  EXPECT_THAT(refused("text a.txt --out out.h5 --tokenizer gpt2"), HasSubstr("--encoder"));
  EXPECT_THAT(refused("text a.txt --out out.h5 --tokenizer word"), HasSubstr("choose from byte, gpt2"));
  EXPECT_THAT(refused("text a.txt --out out.h5 --encoder e.json"), HasSubstr("for --tokenizer gpt2"));
  EXPECT_THAT(refused("text a.txt --out out.h5 --validation-fraction 0.1"), HasSubstr("belong together"));
  EXPECT_THAT(refused("tokens a.txt --dtype f32 --out out.h5"), HasSubstr("u8, u16, u32, u64, i16, i32, i64"));
  EXPECT_THAT(refused("tokens a.txt --out out.h5"), HasSubstr("a.txt: raw tokens need --dtype"));
}

TEST_F(DataCommand, RefusesDamagedInput) {
  file("text", "no data set");
  EXPECT_THAT(refused("info text"), HasSubstr("is not an HDF5 file"));
  EXPECT_THAT(refused("info absent.h5"), HasSubstr("No such file"));
  EXPECT_THAT(refused("idx --images text --labels text --out out.h5"), HasSubstr("text: is not an IDX file"));
  EXPECT_THAT(refused("cifar10 . --out out.h5"), HasSubstr("data_batch_1.bin"));
  EXPECT_THAT(refused("images . --out out.h5"), HasSubstr("one per class"));
  ASSERT_EQ(run("synthetic-tokens --count 1000 --vocab 300 --out whole.h5").exit_code, 0);
  const std::string whole = read_file(folder_ / "whole.h5");
  file("half.h5", whole.substr(0, whole.size() / 2));
  EXPECT_THAT(refused("info half.h5"), HasSubstr("truncated"));
}

TEST_F(DataCommand, ReportsAFullDiskWithExitCode1AndLeavesNoFile) {
  const CommandResult result = run_command("cd " + folder_.path().string() + " && trap '' XFSZ && ulimit -S -f 64 && " +
                                           lshdp_binary() + " data synthetic-images --count 1000 --out out.h5");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.errors, "lshdp data: cannot write out.h5: File too large\n");
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

}  // namespace
}  // namespace lshdp::test
