// JSON values are checked as they are read, and messages name source and key.
#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "support/temporary_directory.h"

namespace lshdp {
namespace {

using testing::HasSubstr;

template <typename Work>
std::string message_of(Work work) {
  try {
    work();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ParseJson, SaysWhereTheTextBreaks) {
  EXPECT_THAT(message_of([] { parse_json("{\n\"a\": 1,\n}", "p.json"); }), HasSubstr("p.json: not valid JSON (line 3"));
  EXPECT_THAT(message_of([] { parse_json("", "p.json"); }), HasSubstr("it is empty"));
  EXPECT_THAT(message_of([] { parse_json("{\"a\":1}\n{\"a\":2}\n", "p.json"); }), HasSubstr("a value in each line"));
  EXPECT_THAT(message_of([] { parse_json("\x89HDF\r\n\x1a\n", "p.json"); }), HasSubstr("this is an HDF5 file"));
  for (const char* text : {"", "{", "[1,", "nul", "{\"a\":1e999}", "\"\xff\"", "1 2", "{\"a\" 1}"}) {
    EXPECT_THROW(parse_json(text, "p.json"), UsageError) << text;
  }
}

TEST(ParseJson, RefusesTreesTooDeepForTheStack) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(json_text(parse_json(nested(200), "p.json")), nested(200));
  EXPECT_THAT(message_of([&] { parse_json(nested(1'000'000), "p.json"); }), HasSubstr("nested more than 200 deep"));
  EXPECT_EQ(parse_json('"' + std::string(1000, '[') + "\\\"{\"", "p.json"), std::string(1000, '[') + "\"{");
}

TEST(JsonText, TakesNamesOfAnyBytes) {
  EXPECT_EQ(json_text(Json{{"file", "n\351.json"}}), "{\"file\":\"n\uFFFD.json\"}");
  EXPECT_EQ(json_text(Json{1, 2}, 1), "[\n 1,\n 2\n]");
}

TEST(ReadJson, ReadsWhatWriteJsonWrote) {
  const test::TemporaryDirectory folder;
  const Json value{{"version", 1}, {"list", {1, 2.5, "x"}}};
  write_json(folder / "v.json", value);
  EXPECT_EQ(read_json(folder / "v.json"), value);
}

TEST(ReadJson, NamesAFileThatIsAbsent) {
  EXPECT_THAT(message_of([] { read_json("/nowhere/p.json"); }), HasSubstr("cannot read /nowhere/p.json"));
}

TEST(JsonValue, IsOfTheAskedType) {
  const Json object{{"n", 3}, {"x", 0.5}, {"s", "text"}, {"b", true}, {"v", {1, 2}}};
  EXPECT_EQ(json_value<int>(object, "n", "p"), 3);
  EXPECT_EQ(json_value<double>(object, "n", "p"), 3);
  EXPECT_EQ(json_value<std::string>(object, "s", "p"), "text");
  EXPECT_TRUE(json_value<bool>(object, "b", "p"));
  EXPECT_EQ(json_value<std::vector<int>>(object, "v", "p"), (std::vector<int>{1, 2}));
  EXPECT_THAT(message_of([&] { json_value<int>(object, "x", "p.json"); }), "p.json: \"x\" must be a whole number");
  EXPECT_THAT(message_of([&] { json_value<double>(object, "s", "p.json"); }), "p.json: \"s\" must be a number");
  EXPECT_THAT(message_of([&] { json_value<std::string>(object, "n", "p.json"); }), "p.json: \"n\" must be text");
  EXPECT_THAT(message_of([&] { json_value<bool>(object, "n", "p.json"); }), "p.json: \"n\" must be true or false");
  EXPECT_THAT(message_of([&] { json_value<std::vector<int>>(object, "s", "p"); }),
              "p: \"s\" must be a list, each entry a whole number");
  EXPECT_THAT(message_of([&] { json_value<int>(object, "m", "p.json"); }), "p.json: \"m\" is missing");
}

TEST(JsonValue, ChecksTheEntriesOfLists) {
  const Json object{{"fraction", {1, 2.5}},
                    {"truth", {1, true}},
                    {"text", {1, "2"}},
                    {"empty", Json::array()},
                    {"nested", {{1}, {2, 3}}}};
  for (const char* key : {"fraction", "truth", "text"}) {
    EXPECT_THROW(json_value<std::vector<std::int64_t>>(object, key, "p"), UsageError) << key;
  }
  EXPECT_TRUE(json_value<std::vector<double>>(object, "empty", "p").empty());
  EXPECT_EQ(json_value<std::vector<std::vector<int>>>(object, "nested", "p"),
            (std::vector<std::vector<int>>{{1}, {2, 3}}));
}

TEST(JsonValue, DoesNotWrapNumbersThatAreTooLarge) {
  const Json object = parse_json(R"({"a":4294967297,"b":18446744073709551615,"c":-1})", "p");
  EXPECT_THROW(json_value<int>(object, "a", "p"), UsageError);
  EXPECT_THROW(json_value<std::int64_t>(object, "b", "p"), UsageError);
  EXPECT_THROW(json_value<std::uint64_t>(object, "c", "p"), UsageError);
  EXPECT_EQ(json_value<std::int64_t>(object, "a", "p"), 4294967297);
  EXPECT_EQ(json_value<std::uint64_t>(object, "b", "p"), 18446744073709551615U);
}

TEST(JsonValue, NeedsAnObjectAroundIt) {
  EXPECT_THAT(message_of([] { json_value<int>(Json(5), "a", "p"); }), HasSubstr("not an object"));
}

TEST(JsonValueOr, GivesTheDefaultOnlyWhereTheKeyIsMissing) {
  const Json object{{"n", "three"}};
  EXPECT_EQ(json_value_or<int>(object, "m", 7, "p"), 7);
  EXPECT_THROW(json_value_or<int>(object, "n", 7, "p"), UsageError);
}

TEST(Version, MustBeTheOneThatIsRead) {
  EXPECT_NO_THROW(require_version(Json{{"version", 1}}, 1, "p"));
  EXPECT_THAT(message_of([] {
                require_version(Json{{"version", 2}}, 1, "p.json");
              }),
              HasSubstr("p.json: version 2 is not supported"));
  EXPECT_THROW(require_version(Json{{"version", "1"}}, 1, "p"), UsageError);
  EXPECT_THROW(require_version(Json::array(), 1, "p"), UsageError);
}

}  // namespace
}  // namespace lshdp
