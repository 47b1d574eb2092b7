// Sizes, numbers, lists and tables, as people write and read them.
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"

namespace lshdp {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Sizes, TakeBinaryAndDecimalUnits) {
  EXPECT_EQ(parse_size("512", "x"), 512);
  EXPECT_EQ(parse_size("64KiB", "x"), 64 * 1024);
  EXPECT_EQ(parse_size("2GiB", "x"), 2LL << 30);
  EXPECT_EQ(parse_size("1.5GB", "x"), 1'500'000'000);
  EXPECT_EQ(parse_size("3 mib", "x"), 3 << 20);
  EXPECT_EQ(parse_size(" 7b ", "x"), 7);
  EXPECT_EQ(parse_size("1TiB", "x"), 1LL << 40);
}

TEST(Sizes, RefuseWhatIsNone) {
  for (const char* text :
       {"", " ", "GiB", "-1GiB", "1XB", "1Gi", "1.2.3MB", "nan", "inf", "1e3", "9000000TiB", "1GiB2"}) {
    EXPECT_THROW(parse_size(text, "--memory"), UsageError) << text;
  }
}

TEST(Sizes, SayWhichOptionIsWrong) {
  try {
    parse_size("lots", "--memory");
    FAIL() << "accepted";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("--memory: 'lots' is not a size"));
    EXPECT_EQ(error.exit_code(), 2);
  }
}

std::string refusal(const std::function<void()>& parse) {
  try {
    parse();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Numbers, SayWhyTheyAreRefused) {
  for (const std::string text : {"inf", "-inf", "nan", "infinity"})
    EXPECT_EQ(refusal([&] { parse_double(text, "--lr"); }), "--lr: '" + text + "' must be a finite number");
  EXPECT_EQ(refusal([] { parse_double_list("1,nan", "--speeds"); }), "--speeds: 'nan' must be a finite number");
  for (const std::string text : {"1e999", "1e-999"})
    EXPECT_THAT(refusal([&] { parse_double(text, "--lr"); }), HasSubstr("'" + text + "' is too large or too small"));
  EXPECT_EQ(refusal([] { parse_double("fast", "--lr"); }), "--lr: 'fast' is not a number");
  EXPECT_THAT(refusal([] { parse_int("99999999999999999999", "--seed"); }), HasSubstr("' is too large or too small"));
  EXPECT_EQ(refusal([] { parse_int("1.5", "--seed"); }), "--seed: '1.5' is not a whole number");
  EXPECT_EQ(refusal([] { parse_int("inf", "--seed"); }), "--seed: 'inf' is not a whole number");
}

TEST(Sizes, ArePrintedWithThreeDigits) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(3LL << 29), "1.50 GiB");
  EXPECT_EQ(format_size(100LL << 20), "100 MiB");
  EXPECT_EQ(format_size(20LL << 40), "20.0 TiB");
}

TEST(Figures, ArePrintedForPeople) {
  EXPECT_EQ(format_seconds(0), "0 s");
  EXPECT_EQ(format_seconds(1.25), "1.25 s");
  EXPECT_EQ(format_seconds(0.0034), "3.4 ms");
  EXPECT_EQ(format_seconds(12e-6), "12 us");
  EXPECT_EQ(format_seconds(250.4), "250 s");
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_count(-123), "-123");
}

TEST(Numbers, AreTheWholeText) {
  EXPECT_EQ(parse_int("-42", "x"), -42);
  EXPECT_EQ(parse_int(" 9223372036854775807 ", "x"), std::numeric_limits<std::int64_t>::max());
  EXPECT_DOUBLE_EQ(parse_double("2e-3", "x"), 2e-3);
  for (const char* text : {"", "1.5", "3x", "9223372036854775808", "0x10", "--1"}) {
    EXPECT_THROW(parse_int(text, "--steps"), UsageError) << text;
  }
  for (const char* text : {"", "1,5", "nan", "inf", "1e999", "abc"}) {
    EXPECT_THROW(parse_double(text, "--lr"), UsageError) << text;
  }
}

TEST(Lists, AreCutAtCommas) {
  EXPECT_THAT(parse_int_list("8, 8,24", "x"), ElementsAre(8, 8, 24));
  EXPECT_THAT(parse_double_list("1,0.5", "x"), ElementsAre(1, 0.5));
  EXPECT_THAT(parse_size_list("1KiB,2KiB", "x"), ElementsAre(1024, 2048));
  for (const char* text : {"", ",", "1,", ",1", "1,,2"}) EXPECT_THROW(parse_int_list(text, "x"), UsageError) << text;
}

TEST(Lists, GiveEachRankItsValueOrAllTheSame) {
  EXPECT_EQ(value_of_rank(std::vector<int>{7}, 3, 4, "--memory"), 7);
  EXPECT_EQ(value_of_rank(std::vector<int>{1, 2, 3}, 2, 3, "--memory"), 3);
  EXPECT_THROW(value_of_rank(std::vector<int>{1, 2}, 0, 3, "--memory"), UsageError);
}

TEST(Utf8, KeepsWhatIsOneAndReplacesOtherBytes) {
  EXPECT_EQ(valid_utf8("na\u00efve \u20ac \U0001F600"), "na\u00efve \u20ac \U0001F600");
  EXPECT_EQ(valid_utf8("n\351.json"), "n\uFFFD.json");
  EXPECT_EQ(valid_utf8("cut off \xe2\x82"), "cut off \uFFFD\uFFFD");
  EXPECT_EQ(valid_utf8("\xc0\xaf"), "\uFFFD\uFFFD");            // two bytes for one that needs one
  EXPECT_EQ(valid_utf8("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");  // half of a pair of UTF-16
  EXPECT_EQ(valid_utf8(""), "");
}

TEST(DidYouMean, NamesTheNearestWordIfOneIsNear) {
  const std::vector<std::string> known{"steps", "resume", "results", "total"};
  EXPECT_EQ(did_you_mean("step", known, "--"), "; did you mean --steps?");
  EXPECT_EQ(did_you_mean("setps", known), "; did you mean steps?");
  EXPECT_EQ(did_you_mean("RESULT", known), "; did you mean results?");
  EXPECT_EQ(did_you_mean("optimiser", known), "");
  EXPECT_EQ(did_you_mean("", known), "");
}

TEST(Printable, KeepsUtf8AndEscapesTheRest) {
  EXPECT_EQ(printable("caf\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80 it's"),
            "caf\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80 it's");
  EXPECT_EQ(printable("caf\xe9.png"), "caf\\xe9.png");
  EXPECT_EQ(printable(std::string("two\nlines\t\0\x7f", 12)), "two\\nlines\\t\\x00\\x7f");
  // Cut off, overlong, a surrogate, beyond the last character.
  EXPECT_EQ(printable("\xc3"), "\\xc3");
  EXPECT_EQ(printable("\xe0\x80\x80"), "\\xe0\\x80\\x80");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

TEST(Tables, AlignNumbersRightAndTextLeft) {
  Table table({"host", "batch"});
  table.add({"a", "8"});
  table.add({"node12", "128"});
  EXPECT_EQ(table.to_string(), "host    batch\na           8\nnode12    128\n");
}

TEST(Tables, AcceptRowsOfDifferentLength) {
  Table table({"a", "b"});
  table.add({"only"});
  table.add({});
  EXPECT_EQ(table.to_string(), "a     b\nonly\n\n");
}

}  // namespace
}  // namespace lshdp
