// Readers of what options are made of: sizes, numbers, lists; and of JSON text.
#include <gtest/gtest.h>

#include "lshdp/core/text.h"
#include "reader.h"

namespace lshdp::test {
namespace {

void read_size(const std::string& text) {
  const std::int64_t bytes = parse_size(text, "--memory");
  EXPECT_GE(bytes, 0) << text;
  EXPECT_FALSE(format_size(bytes).empty());
}

void read_list(const std::string& text) {
  int kinds = 0;
  std::string refusal;
  const auto attempt = [&](auto parse) {
    try {
      EXPECT_FALSE(parse().empty());
      ++kinds;
    } catch (const UsageError& error) {
      refusal = error.what();
    }
  };
  attempt([&] { return parse_int_list(text, "--batches"); });
  attempt([&] { return parse_double_list(text, "--emulate-speed"); });
  attempt([&] { return parse_size_list(text, "--memory"); });
  if (kinds == 0) throw UsageError(refusal);
}

/// What is read can be copied, written and read again.
void read_json_text(const std::string& text) {
  const Json json = parse_json(text, "F");
  const Json copy = json;
  EXPECT_EQ(json_text(parse_json(json_text(copy), "again")), json_text(json));
}

std::vector<std::string> sizes() { return {"512", "64KiB", "2GiB", "1.5GB", "3 mib", "7b"}; }
std::vector<std::string> lists() { return {"1,2,3", "8,8,24,24", "0", "1 , 2", "1,0.5,0.25", "1e-3", "1GiB,512MiB"}; }
std::vector<std::string> json_texts() {
  return {R"({"version":1,"batches":[16,16,48,48]})", R"([1,-2.5e3,"a\u00e9\n",true,null,{"b":[]}])"};
}

}  // namespace

std::vector<Reader> readers() {
  return {{"Size", sizes, read_size}, {"List", lists, read_list}, {"Json", json_texts, read_json_text, Mutation::json}};
}

}  // namespace lshdp::test
