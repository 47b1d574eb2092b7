// Options: strict parsing, typed values and messages that name the option.
#include <string>
#include <variant>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lshdp/cli/options.h"
#include "lshdp/core/error.h"

namespace lshdp::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Options sample() {
  return Options("sample", "Does something", "lshdp sample a.json --out b.json")
      .positional("profile", "the profile")
      .option("total", "B", "samples a step")
      .option("lr", "RATE", "learning rate", "0.001")
      .required("out", "FILE", "result")
      .flag("recompute", "save memory");
}

Values parse(const Options& options, Arguments arguments) {
  arguments.insert(arguments.begin(), "sample");
  return options.parse(arguments);
}

std::string message_of(const Options& options, const Arguments& arguments) {
  try {
    parse(options, arguments);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Options, GiveAJsonOfEveryValueHoweverItWasWritten) {
  const auto json = [](const Arguments& arguments) { return parse(sample(), arguments).to_json(); };
  const nlohmann::json expected{{"profile", "p.json"}, {"total", "12"},       {"lr", "0.001"},
                                {"out", "b.json"},     {"recompute", "true"}, {"log", "info"}};
  EXPECT_EQ(json({"p.json", "--out", "b.json", "--recompute", "--total=12"}), expected);
  EXPECT_EQ(json({"--lr", "0.001", "--total", "12", "--recompute", "--out=b.json", "p.json"}), expected);
}

TEST(Options, GivesValuesDefaultsAndFlags) {
  const Values values = parse(sample(), {"p.json", "--out", "b.json", "--recompute", "--total=-12"});
  EXPECT_EQ(values.text("profile"), "p.json");
  EXPECT_EQ(values.text("out"), "b.json");
  EXPECT_EQ(values.integer("total"), -12);
  EXPECT_DOUBLE_EQ(values.real("lr"), 0.001);
  EXPECT_TRUE(values.flag("recompute"));
  EXPECT_FALSE(parse(sample(), {"p.json", "--out", "b"}).flag("recompute"));
  EXPECT_FALSE(parse(sample(), {"p.json", "--out", "b"}).has("total"));
}

TEST(Options, TakesANegativeNumberAsAValue) {
  EXPECT_EQ(parse(sample(), {"p.json", "--total", "-3", "--out", "b"}).integer("total"), -3);
}

TEST(Options, RefusesWhatItDoesNotKnowAndSaysWhere) {
  EXPECT_EQ(message_of(sample(), {"p.json", "--out", "b", "--totl", "3"}),
            "unknown option '--totl'; did you mean --total?; see lshdp sample --help");
  EXPECT_EQ(message_of(sample(), {"--totl=3", "p.json", "--out", "b"}),
            "unknown option '--totl'; did you mean --total?; see lshdp sample --help");
  EXPECT_EQ(message_of(sample(), {"p.json", "--out", "b", "--sideways"}),
            "unknown option '--sideways'; see lshdp sample --help");
  EXPECT_THAT(message_of(sample(), {"p.json", "--out", "b", "-total", "3"}), HasSubstr("did you mean --total?"));
  EXPECT_THAT(message_of(sample(), {"p.json", "-x", "--out", "b"}), HasSubstr("unknown option '-x'"));
  EXPECT_THAT(message_of(sample(), {"p.json", "q.json", "--out", "b"}), HasSubstr("unexpected argument 'q.json'"));
}

TEST(Options, RefusesAMissingValueEvenBeforeAnotherOption) {
  EXPECT_THAT(message_of(sample(), {"p.json", "--out"}), HasSubstr("--out needs a value (FILE)"));
  EXPECT_THAT(message_of(sample(), {"p.json", "--out", "--total", "3"}), HasSubstr("--out needs a value (FILE)"));
}

TEST(Options, RefusesAnEmptyValueByName) {
  for (const Arguments& out : {Arguments{"--out", ""}, Arguments{"--out="}}) {
    Arguments all{"p.json"};
    all.insert(all.end(), out.begin(), out.end());
    EXPECT_THAT(message_of(sample(), all), HasSubstr("--out has an empty value"));
  }
  EXPECT_THAT(message_of(sample(), {"p.json", "--out", "b", "--total", ""}), HasSubstr("--total has an empty value"));
  EXPECT_THAT(message_of(sample(), {"p.json", "--out", "b", "--log", ""}), HasSubstr("--log has an empty value"));
  EXPECT_THAT(message_of(sample(), {"", "--out", "b"}), HasSubstr("argument profile has an empty value"));
}

TEST(Options, TakesValuesOfAnyText) {
  const auto out = [](const Arguments& arguments) { return parse(sample(), arguments).text("out"); };
  EXPECT_EQ(out({"p", "--out", "two\nlines"}), "two\nlines");
  EXPECT_EQ(out({"p", "--out=two\nlines"}), "two\nlines");
  EXPECT_EQ(out({"p", "--out", "--one two"}), "--one two");
  EXPECT_EQ(out({"p", "--out=--total"}), "--total");
  EXPECT_EQ(out({"p", "--out", "a=b=c"}), "a=b=c");
  EXPECT_EQ(out({"p", "--out", "-x"}), "-x");
  EXPECT_EQ(out({"p", "--out", "n\351"}), "n\351");
  EXPECT_EQ(out({"p", "--out", " "}), " ");
  EXPECT_THAT(message_of(sample(), {"p", "--out", "--total=3 4"}), HasSubstr("--out needs a value"));
}

TEST(Options, TakesEverythingBehindTwoDashesAsArguments) {
  EXPECT_EQ(parse(sample(), {"--out", "b", "--", "-p.json"}).text("profile"), "-p.json");
  EXPECT_EQ(parse(sample(), {"--out", "b", "--", "--help"}).text("profile"), "--help");
  const Options files = Options("text", "Converts", "lshdp text a").positionals("files", "text files");
  EXPECT_THAT(parse(files, {"a", "--", "-b", "--log", "--"}).texts("files"), ElementsAre("a", "-b", "--log", "--"));
  EXPECT_THAT(message_of(sample(), {"p", "--out", "b", "--", "q"}), HasSubstr("unexpected argument 'q'"));
}

TEST(Options, KnowsWhatNeedsOrExcludesWhat) {
  const Options options = sample().needs("lr", {"total"}).excludes("recompute", "total");
  EXPECT_THAT(message_of(options, {"p", "--out", "b", "--lr", "1"}), HasSubstr("--lr needs --total"));
  EXPECT_THAT(message_of(options, {"p", "--out", "b", "--recompute", "--total", "1"}),
              HasSubstr("--recompute and --total exclude each other"));
  EXPECT_EQ(message_of(options, {"p", "--out", "b", "--lr", "1", "--total", "1"}), "accepted");
  EXPECT_EQ(message_of(options, {"p", "--out", "b"}), "accepted");  // a default needs nothing
  const Options either = sample().needs("lr", {"total", "recompute"});
  EXPECT_THAT(message_of(either, {"p", "--out", "b", "--lr", "1"}), HasSubstr("--lr needs --total or --recompute;"));
  EXPECT_EQ(message_of(either, {"p", "--out", "b", "--lr", "1", "--recompute"}), "accepted");
}

TEST(Options, SayTheSameHoweverTheirNumbersAreWritten) {
  const auto read = [](const std::string& total, const std::string& lr, const std::string& out) {
    const Values values = parse(sample(), {"p", "--out", out, "--total", total, "--lr", lr});
    values.integer("total");
    values.real("lr");
    values.sizes("out");
    return values.as_read();
  };
  EXPECT_EQ(read("8", "1e-3", "1GiB,1KiB"), read("08", "0.001", "1024MiB, 1024"));
  EXPECT_NE(read("8", "1e-3", "1GiB"), read("9", "1e-3", "1GiB"));
  EXPECT_NE(read("8", "1e-3", "1GiB"), read("8", "1.0000001e-3", "1GiB"));
  EXPECT_NE(read("8", "1e-3", "1GiB"), read("8", "1e-3", "1GB"));
  const auto lists = [](const std::string& total, const std::string& lr) {
    const Values values = parse(sample(), {"p", "--out", "b", "--total", total, "--lr", lr});
    values.integers("total");
    values.reals("lr");
    return values.as_read();
  };
  EXPECT_EQ(lists("8,08", "1,0.50"), lists("8, 8", "1.0,5e-1"));
  EXPECT_NE(lists("8,8", "1"), lists("8", "1"));
  // What no getter has read as a number may be a name.
  EXPECT_EQ(parse(sample(), {"08", "--out", "b"}).as_read()["profile"], "08");
}

TEST(Options, ReadsACountOrATime) {
  const auto read = [](const std::string& text) {
    const Values values = parse(sample(), {"p", "--out", "b", "--total", text});
    const auto value = values.count_or_seconds("total");
    EXPECT_EQ(values.as_read()["total"].get<std::string>().ends_with(" s"), value.index() == 1) << text;
    return value;
  };
  EXPECT_EQ(std::get<std::int64_t>(read("90")), 90);
  EXPECT_EQ(std::get<double>(read("90s")), 90);
  EXPECT_EQ(std::get<double>(read("1.5min")), 90);
  EXPECT_EQ(std::get<double>(read("2 h")), 7200);
  EXPECT_EQ(std::get<double>(read("1e-6s")), 1e-6);
  for (const std::string text : {"90x", "10days", "0s", "-1min", "s", "nans", "infs", "1e308h", "often", "1.5"}) {
    try {
      read(text);
      ADD_FAILURE() << text;
    } catch (const UsageError& error) {
      EXPECT_EQ(error.what(),
                "--total: '" + text + "' is neither a whole number nor a time above 0 such as 90s, 10min or 2h");
    }
  }
  EXPECT_THROW(read("-1"), UsageError);
}

TEST(Options, NamesTheNearestChoice) {
  const Values values = parse(sample(), {"p", "--out", "lspd"});
  try {
    values.choice("out", {"ddp", "fsdp", "lsdp"});
    FAIL() << "accepted";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "--out: 'lspd' is not known; choose from ddp, fsdp, lsdp; did you mean lsdp?");
  }
}

TEST(Options, RefusesWhatIsRequiredButMissingOrGivenTwice) {
  EXPECT_THAT(message_of(sample(), {"p.json"}), HasSubstr("--out FILE is missing"));
  EXPECT_THAT(message_of(sample(), {"--out", "b"}), HasSubstr("argument profile is missing"));
  EXPECT_THAT(message_of(sample(), {"p", "--out", "b", "--out", "c"}), HasSubstr("--out is given twice"));
  EXPECT_THAT(message_of(sample(), {"p", "--out", "b", "--recompute=false"}), HasSubstr("--recompute takes no value"));
}

TEST(Options, RefusesWhereNoneOfAGroupIsGiven) {
  const Options options = sample().one_of({"total", "recompute"});
  EXPECT_THAT(message_of(options, {"p", "--out", "b"}), HasSubstr("give either --total or --recompute;"));
  EXPECT_THAT(message_of(options, {"p"}), HasSubstr("--out FILE is missing"));
  EXPECT_EQ(message_of(options, {"p", "--out", "b", "--recompute"}), "accepted");
  EXPECT_EQ(message_of(options, {"p", "--out", "b", "--recompute", "--total", "1"}), "accepted");
}

TEST(Options, RefusesAnUnknownLogLevel) {
  EXPECT_THAT(message_of(sample(), {"p", "--out", "b", "--log", "loud"}), HasSubstr("--log"));
}

TEST(Options, KeepsCommasInRepeatedPositionals) {
  const Options options = Options("report", "Reports", "lshdp report a b").positionals("dirs", "run directories");
  EXPECT_THAT(parse(options, {"a,b", "c"}).texts("dirs"), ElementsAre("a,b", "c"));
  EXPECT_THAT(message_of(options, {}), HasSubstr("argument dirs is missing"));
}

TEST(Options, ChecksRangesAndNamesTheOption) {
  const Values values = parse(sample(), {"p", "--out", "b", "--total", "0", "--lr", "2"});
  EXPECT_THROW(
      try { values.integer("total", 1); } catch (const UsageError& error) {
        EXPECT_STREQ(error.what(), "--total: 0 is too small; the least is 1");
        throw;
      },
      UsageError);
  EXPECT_THROW(values.real("lr", 0, 1), UsageError);
  EXPECT_THROW(values.integer("out"), UsageError);
  EXPECT_THROW(values.choice("out", {"ddp", "lsdp"}), UsageError);
}

TEST(Options, ReadsLists) {
  const Values values = parse(sample(), {"p", "--out", "1GiB,512MiB", "--total", "8,8,24", "--lr", "1,0.5"});
  EXPECT_THAT(values.integers("total", 0), ElementsAre(8, 8, 24));
  EXPECT_THAT(values.reals("lr"), ElementsAre(1, 0.5));
  EXPECT_THAT(values.sizes("out"), ElementsAre(1 << 30, 512 << 20));
  EXPECT_THROW(values.integers("total", 10), UsageError);
}

TEST(Options, HelpShowsEveryOptionAndTheExample) {
  testing::internal::CaptureStdout();
  const Values values = parse(sample(), {"--help", "--nonsense"});
  const std::string printed = testing::internal::GetCapturedStdout();
  EXPECT_TRUE(values.help());
  testing::internal::CaptureStdout();
  EXPECT_TRUE(parse(sample(), {"p.json", "-h"}).help());
  EXPECT_EQ(testing::internal::GetCapturedStdout(), printed);
  EXPECT_THAT(printed, HasSubstr("--total B"));
  EXPECT_THAT(printed, HasSubstr("(default: 0.001)"));
  EXPECT_THAT(printed, HasSubstr("Usage: lshdp sample profile --out FILE [options]"));
  EXPECT_THAT(printed, HasSubstr("lshdp sample a.json --out b.json"));
}

}  // namespace
}  // namespace lshdp::cli
