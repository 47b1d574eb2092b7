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
  EXPECT_EQ(kind(R"({"version":1,"replicas":[]})"), "a layout");
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

TEST(FormatOf, TellsFormatsApart) {
  const auto name = [](const std::string& head) { return std::string(format_of(head).name); };
  EXPECT_EQ(name("PK\x03\x04").substr(0, 13), "a zip archive");
  EXPECT_EQ(name("RIFF....WEBPVP8 "), "a WebP image");
  EXPECT_EQ(name("RIFF....WAVEfmt "), "");
  EXPECT_EQ(name("....ftypavif...."), "an AVIF image");
  EXPECT_EQ(name("....ftypisom...."), "a video");
  EXPECT_EQ(name("....ftyp"), "a video");
  EXPECT_EQ(name(std::string(257, 'f') + "ustar  " + '\0'), "a tar archive");
  EXPECT_EQ(name("hello"), "");
  EXPECT_EQ(name(""), "");
  EXPECT_EQ(format_of("\xff\xd8\xff\xdb").id, FileFormat::Id::jpeg);
}

TEST(FormatOf, KnowsASafetensorsFileWhateverItsLength) {
  for (const std::string length : {"\x40\x20", "\x80\x02", "BM"}) {
    const std::string head = length + std::string(6, '\0') + R"({"a":)";
    EXPECT_EQ(format_of(head).id, FileFormat::Id::safetensors) << length;
  }
}

TEST(FormatOf, DoubtsHeadsThatTextOrNumbersMayHave) {
  for (const std::string head : {"BM", "GIF8", "<html", "\x80\x04", "\xff\x0a"}) {
    EXPECT_FALSE(format_of(head).name.empty()) << head;
    EXPECT_TRUE(format_of(head).doubtful) << head;
  }
  EXPECT_FALSE(format_of("\x1f\x8b\x08").doubtful);
}

TEST(ByteOrderMark, NamesTheEncoding) {
  EXPECT_EQ(byte_order_mark("\xef\xbb\xbftext"), "UTF-8");
  EXPECT_EQ(byte_order_mark(std::string("\xff\xfe\0\0", 4)), "UTF-32");
  EXPECT_EQ(byte_order_mark(std::string("\xff\xfe\x41\0", 4)), "UTF-16");
  EXPECT_EQ(byte_order_mark("text"), "");
}

TEST(KindOfBytes, KnowsFormatsByTheirHeads) {
  EXPECT_THAT(kind_of_bytes("\x89HDF\r\n\x1a\nrest"), testing::StartsWith("an HDF5 file"));
  EXPECT_THAT(kind_of_bytes(std::string("\x40\0\0\0\0\0\0\0{\"a\"", 13)), testing::StartsWith("a safetensors file"));
  EXPECT_EQ(kind_of_bytes("\x1f\x8b\x08"), "a gzip file");
  EXPECT_EQ(kind_of_bytes(std::string("a\0b", 3)), "a binary file");
  EXPECT_THAT(kind_of_bytes(std::string("\xff\xfe{\0", 4)), testing::StartsWith("UTF-16"));
  EXPECT_EQ(kind_of_bytes("<!DOCTYPE html>"), "a web page");
  EXPECT_EQ(kind_of_bytes("BMW: 1"), "");
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
