// Fuzzes what options are made of: sizes, numbers, lists; and JSON text.
#include <gtest/gtest.h>

#include "driver.h"
#include "lshdp/core/json.h"
#include "lshdp/core/text.h"

namespace lshdp::test {
namespace {

constexpr Bound kShort{200'000, 2};

TEST(Fuzz, Sizes) {
  fuzz_bytes(
      {"512", "64KiB", "2GiB", "1.5GB", "3 mib", "7b"},
      [](const std::string& text) {
        const std::int64_t bytes = parse_size(text, "--memory");
        EXPECT_GE(bytes, 0) << text;
        EXPECT_FALSE(format_size(bytes).empty());
      },
      kShort);
}

TEST(Fuzz, Lists) {
  fuzz_bytes(
      {"1,2,3", "8,8,24,24", "0", "1 , 2"},
      [](const std::string& text) { EXPECT_FALSE(parse_int_list(text, "--batches").empty()); }, kShort);
  fuzz_bytes(
      {"1,0.5,0.25", "1e-3", "-2.5"},
      [](const std::string& text) { EXPECT_FALSE(parse_double_list(text, "--emulate-speed").empty()); }, kShort);
  fuzz_bytes(
      {"1GiB,512MiB", "7"}, [](const std::string& text) { EXPECT_FALSE(parse_size_list(text, "--memory").empty()); },
      kShort);
}

TEST(Fuzz, JsonText) {
  fuzz_bytes(
      {R"({"version":1,"batches":[16,16,48,48]})", R"([1,-2.5e3,"a\u00e9\n",true,null,{"b":[]}])"},
      [](const std::string& text) { parse_json(text, "input"); }, kShort);
}

}  // namespace
}  // namespace lshdp::test
