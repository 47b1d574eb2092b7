// Form C: letters and marks that join, by the standard's rules and as the `tokenizers` library does it.
#include <filesystem>

#include <gtest/gtest.h>

#include "composer.h"
#include "lshdp/core/json.h"

namespace lshdp::data {
namespace {

TEST(Composer, JoinsAsTheLibraryDoes) {
  // Texts and what the library's NFC made of them; made by scripts/make_composition_tables.py.
  const Json cases = read_json(std::filesystem::path(LSHDP_TEST_DATA) / "tokenizers" / "nfc.json");
  EXPECT_GT(cases.size(), 400U);
  const Composer composer;
  for (const Json& each : cases) EXPECT_EQ(composer(each[0].get<std::string>()), each[1].get<std::string>()) << each[0];
}

TEST(Composer, LeavesWhatIsNoTextAndJoinsNothingAcrossIt) {
  const Composer composer;
  EXPECT_EQ(composer("e\u0301"), "\u00e9");
  EXPECT_EQ(composer("e\xff\u0301"), "e\xff\u0301");
  EXPECT_EQ(composer("e\u0301\xcc"), "\u00e9\xcc");
  EXPECT_EQ(composer("\xcc\xcc\x81"), "\xcc\u0301");
  EXPECT_EQ(composer("ae\u0301\u0301b"), "a\u00e9\u0301b");
  EXPECT_EQ(composer(""), "");
}

TEST(Composer, TakesManyMarks) {
  std::string text = "e", sorted = "\u00e9";
  for (int i = 0; i < 100000; ++i) text += "\u0301\u0316";
  for (int i = 0; i < 100000; ++i) sorted += "\u0316";
  for (int i = 1; i < 100000; ++i) sorted += "\u0301";
  // The first acute joins with the letter, because the marks below it are of another class.
  EXPECT_EQ(Composer()(text), sorted);
}

}  // namespace
}  // namespace lshdp::data
