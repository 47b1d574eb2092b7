// Files given for others are called by what they are.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/file_kind.h"

namespace lshdp {
namespace {

TEST(KindOfJson, KnowsOurFilesByTheirKeys) {
  const auto kind = [](const char* text) { return kind_of_json(Json::parse(text)); };
  EXPECT_EQ(kind(R"({"version":1,"network":{},"ranks":[{"rank":0,"max_batch":4}]})"), "a profile");
  EXPECT_EQ(kind(R"({"version":1,"total":2,"ranks":[{"rank":0,"batch":2,"micro_batches":[2]}]})"), "a plan");
  EXPECT_EQ(kind(R"({"version":1,"batches":[4,4]})"), "a plan");
  EXPECT_EQ(kind(R"({"ranks":[{"limited_by":"memory"}]})"), "a result of lshdp max-batch");
  EXPECT_EQ(kind(R"({"ranks":[{"measured":{}}]})"), "a result of lshdp memory");
  EXPECT_EQ(kind(R"({"type":"vit"})"), "a model's description");
  EXPECT_EQ(kind(R"({"model_type":"gpt2"})"), "a model's description");
  EXPECT_EQ(kind(R"({"weight_map":{}})"), "a list of weight files");
  EXPECT_EQ(kind(R"({"record":"run"})"), "a record of metrics.jsonl");
  EXPECT_EQ(kind(R"({"hello":1})"), "");
  EXPECT_EQ(kind(R"([1,2])"), "");
  EXPECT_EQ(kind(R"({"ranks":[]})"), "");
  EXPECT_EQ(kind(R"({"ranks":[1]})"), "");
}

TEST(KindOfBytes, KnowsFormatsByTheirHeads) {
  EXPECT_THAT(kind_of_bytes("\x89HDF\r\n\x1a\nrest"), testing::StartsWith("an HDF5 file"));
  EXPECT_THAT(kind_of_bytes(std::string("\x40\0\0\0\0\0\0\0{\"a\"", 13)), testing::StartsWith("a safetensors file"));
  EXPECT_EQ(kind_of_bytes("\x1f\x8b\x08"), "a gzip file");
  EXPECT_EQ(kind_of_bytes(std::string("a\0b", 3)), "a binary file");
  EXPECT_THAT(kind_of_bytes(std::string("\xff\xfe{\0", 4)), testing::StartsWith("UTF-16"));
  EXPECT_EQ(kind_of_bytes("{\"a\": 1}"), "");
  EXPECT_EQ(kind_of_bytes(""), "");
}

TEST(RefuseOtherKind, SaysWhatTheFileIs) {
  EXPECT_NO_THROW(refuse_other_kind(Json::parse(R"({"network":1,"ranks":[]})"), "a profile", "p.json"));
  EXPECT_NO_THROW(refuse_other_kind(Json::parse(R"({"version":1})"), "a profile", "p.json"));
  try {
    refuse_other_kind(Json::parse(R"({"batches":[1]})"), "a profile", "p.json");
    FAIL() << "accepted";
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "p.json: this is a plan, not a profile");
  }
}

}  // namespace
}  // namespace lshdp
