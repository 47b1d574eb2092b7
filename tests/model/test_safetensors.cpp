// safetensors files: what is written is read back, and every damaged file is refused with one clear line.
#include <csignal>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/model/safetensors.h"
#include "support/temporary_directory.h"

namespace lshdp::model {
namespace {

using lshdp::test::TemporaryDirectory;
using testing::AllOf;
using testing::HasSubstr;

std::string file_of(const std::string& header, const std::string& data, std::int64_t length = -1) {
  std::string text(8, '\0');
  const auto declared = static_cast<std::uint64_t>(length < 0 ? static_cast<std::int64_t>(header.size()) : length);
  std::memcpy(text.data(), &declared, 8);
  return text + header + data;
}

NamedTensors parse(const std::string& content) { return parse_safetensors(std::as_bytes(std::span(content)), "w"); }

std::string error_of(const std::string& content) {
  try {
    parse(content);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

/// A header of float32 vectors: name, elements, begin, end.
std::string entry(const std::string& name, int elements, int begin, int end) {
  return '"' + name + R"(":{"dtype":"F32","shape":[)" + std::to_string(elements) + R"(],"data_offsets":[)" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

std::vector<std::pair<std::string, at::Tensor>> one_of_each_type() {
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  const at::Tensor values = at::arange(6, at::kDouble).reshape({2, 3}) - 2;
  for (const auto type : {at::kByte, at::kBool, at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt,
                          at::kShort, at::kChar, at::kUInt16, at::kUInt32, at::kUInt64, at::kFloat8_e4m3fn}) {
    tensors.emplace_back(c10::toString(type), (values + 2).to(type));
  }
  tensors.emplace_back("scalar", at::full({}, 2.5));
  tensors.emplace_back("empty", at::empty({0, 4}));
  return tensors;
}

TEST(Safetensors, EveryTypeIsReadBackAsWritten) {
  const TemporaryDirectory folder;
  const auto tensors = one_of_each_type();
  write_safetensors(folder / "w.safetensors", tensors);
  const NamedTensors read = read_safetensors(folder / "w.safetensors");
  ASSERT_EQ(read.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(read.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(read.at(name).to(at::kDouble).equal(tensor.to(at::kDouble))) << name;
  }
}

TEST(Safetensors, AViewIsWrittenAsItsElementsAreOrdered) {
  const TemporaryDirectory folder;
  const at::Tensor view = at::arange(12, at::kFloat).reshape({3, 4}).t().requires_grad_();
  write_safetensors(folder / "w", {{"t", view}});
  EXPECT_TRUE(read_safetensors(folder / "w").at("t").equal(view));
  EXPECT_EQ(read_file(folder / "w").size() % 8, 0U);
}

TEST(Safetensors, MetadataIsSkipped) {
  const NamedTensors tensors =
      parse(file_of(R"({"__metadata__":{"format":"pt"},)" + entry("a", 1, 0, 4) + "}", std::string("\0\0\x80\x3f", 4)));
  EXPECT_EQ(tensors.size(), 1U);
  EXPECT_THAT(error_of(file_of(R"({"__metadata__":{"format":1}})", "")), HasSubstr("__metadata__"));
}

TEST(Safetensors, ABoolByteIsTrueUnlessZero) {
  const at::Tensor read =
      parse(file_of(R"({"b":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", std::string("\0\7", 2))).at("b");
  EXPECT_TRUE(read.equal(at::tensor({0, 1}).to(at::kBool)));
}

TEST(Safetensors, ATruncatedFileIsRefused) {
  const std::string whole = file_of("{" + entry("a", 2, 0, 8) + "}", std::string(8, 'x'));
  EXPECT_EQ(error_of(whole), "no error");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_NE(error_of(whole.substr(0, length)), "no error") << length;
  }
  EXPECT_EQ(error_of("1234567"), "w: 7 bytes are too few for a safetensors file");
  EXPECT_THAT(error_of(whole.substr(0, whole.size() - 1)), HasSubstr("describes 8 bytes of tensors, the file holds 7"));
  EXPECT_THAT(error_of(whole + "x"), HasSubstr("the file holds 9"));
}

TEST(Safetensors, AHeaderLengthBeyondTheFileIsRefused) {
  for (const std::int64_t length :
       {std::int64_t{3}, std::int64_t{200'000'000}, std::numeric_limits<std::int64_t>::max()}) {
    EXPECT_THAT(error_of(file_of("{}", "", length)), HasSubstr("it is truncated or no safetensors file"));
  }
}

TEST(Safetensors, AHeaderTooDeepForTheStackIsRefused) {
  EXPECT_THAT(
      error_of(file_of(R"({"__metadata__":)" + std::string(1'000'000, '[') + std::string(1'000'000, ']') + "}", "")),
      HasSubstr("nested too deeply"));
}

TEST(Safetensors, AHeaderThatIsNoObjectIsRefused) {
  EXPECT_EQ(error_of(file_of("[]", "")), "w: the header must be a JSON object");
  EXPECT_THAT(error_of(file_of("{\"a\":", "")), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of(file_of("", "")), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of(file_of("\xff\xfe{}", "")), HasSubstr("not valid JSON"));
}

TEST(Safetensors, OffsetsThatOverlapOrLeaveGapsAreRefused) {
  const std::string data(16, 'x');
  EXPECT_EQ(error_of(file_of("{" + entry("b", 2, 0, 8) + "," + entry("a", 2, 8, 16) + "}", data)), "no error");
  EXPECT_THAT(error_of(file_of("{" + entry("a", 2, 0, 8) + "," + entry("b", 3, 4, 16) + "}", data)),
              HasSubstr("overlap"));
  EXPECT_THAT(error_of(file_of("{" + entry("a", 2, 0, 8) + "," + entry("b", 1, 12, 16) + "}", data)),
              HasSubstr("leave a gap"));
  EXPECT_THAT(error_of(file_of("{" + entry("a", 3, 4, 16) + "}", data)), HasSubstr("leave a gap"));
  EXPECT_THAT(error_of(file_of("{" + entry("a", 2, 0, 8) + "}", data)), HasSubstr("the file holds 16"));
  EXPECT_THAT(error_of(file_of("{" + entry("a", 2, 8, 0) + "}", data)),
              HasSubstr("\"data_offsets\" must be [begin, end]"));
}

TEST(Safetensors, AShapeThatDoesNotMatchItsBytesIsRefused) {
  EXPECT_THAT(error_of(file_of("{" + entry("a", 3, 0, 8) + "}", std::string(8, 'x'))), HasSubstr("the shape needs 12"));
  for (const char* shape :
       {"[4611686018427387904,4]", "[0,4611686018427387904,4611686018427387904]", "[18446744073709551615]"}) {
    EXPECT_THAT(
        error_of(file_of(R"({"a":{"dtype":"F32","shape":)" + std::string(shape) + R"(,"data_offsets":[0,0]}})", "")),
        HasSubstr("too large"))
        << shape;
  }
  for (const char* shape : {"[-1]", "[1.5]", "[\"1\"]", "1", "{}"}) {
    EXPECT_THAT(error_of(file_of(R"({"a":{"dtype":"F32","shape":)" + std::string(shape) + R"(,"data_offsets":[0,4]}})",
                                 "xxxx")),
                HasSubstr("\"a.shape\" must"))
        << shape;
  }
}

TEST(Safetensors, AnEntryWithOtherKeysIsRefused) {
  EXPECT_THAT(error_of(file_of(R"({"a":{"dtype":"F32","shape":[1]}})", "xxxx")),
              HasSubstr("dtype, shape and data_offsets"));
  EXPECT_THAT(error_of(file_of(R"({"a":{"dtype":"F32","shape":[1],"offsets":[0,4]}})", "xxxx")),
              HasSubstr("\"data_offsets\" is missing"));
  EXPECT_THAT(error_of(file_of(R"({"a":7})", "")), HasSubstr("dtype, shape and data_offsets"));
}

TEST(Safetensors, ATensorOfAnUnknownTypeIsRefusedOnlyWhereItIsRead) {
  const TemporaryDirectory folder;
  write_file(folder / "w",
             file_of(R"({"a":{"dtype":"F4_E2M1","shape":[2],"data_offsets":[0,1]},)" + entry("b", 1, 1, 5) + "}",
                     std::string("x\0\0\x80\x3f", 5)));
  const auto file = open_safetensors(folder / "w");
  EXPECT_THAT(file->names(), testing::ElementsAre("a", "b"));
  EXPECT_EQ(file->read("b").item<float>(), 1);
  try {
    file->read("a");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("tensor a has type F4_E2M1, which is not supported"));
  }
}

TEST(Safetensors, OtherFormatsAreNamedByTheirHeads) {
  const auto named = [](const std::string& head, const char* words) {
    EXPECT_THAT(error_of(head + std::string(100, '\x2a')), HasSubstr(words)) << head;
  };
  named(std::string("PK\3\4", 4), "torch.save");
  named("\x80\2", "torch.save");
  named("GGUF", "GGUF");
  named("\x89HDF\r\n\x1a\n", "HDF5");
  named("\x93NUMPY", "NumPy");
  named("version https://git-lfs.github.com/spec/v1", "git lfs pull");
  named("<!DOCTYPE html>", "a web page");
  named("\x1f\x8b\x08", "gzip");
  named("{\"model_type\": \"gpt2\"}", "is JSON and holds no weights");
}

TEST(Safetensors, AHeaderWhoseLengthLooksLikeAnotherFormatsHeadIsRead) {
  // 0x0280 bytes: the first two bytes of a pickle.
  std::string header = "{" + entry("a", 1, 0, 4) + "}";
  header.append(0x280 - header.size(), ' ');
  EXPECT_EQ(parse(file_of(header, std::string("\0\0\x80\x3f", 4))).at("a").item<float>(), 1);
}

TEST(Safetensors, ANameOrKeyThatComesTwiceIsRefused) {
  EXPECT_EQ(error_of(file_of("{" + entry("a", 1, 0, 4) + "," + entry("a", 1, 4, 8) + "}", std::string(8, 'x'))),
            "w: \"a\" is in the header twice; the file is damaged");
  EXPECT_THAT(error_of(file_of(R"({"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}})", "xxxx")),
              HasSubstr("\"dtype\" is in the header twice"));
}

TEST(Safetensors, AnAbsentFileOrAFolderIsRefused) {
  const TemporaryDirectory folder;
  EXPECT_THROW(read_safetensors(folder / "absent"), UsageError);
  EXPECT_THROW(read_safetensors(folder.path()), UsageError);
}

TEST(Safetensors, AWriterTakesTensorsInAnyOrderAndLeavesNothingUnlessAllAreThere) {
  const TemporaryDirectory folder;
  const std::vector<TensorShape> shapes{{"a", at::kFloat, {2}}, {"b", at::kHalf, {1, 3}}};
  {
    SafetensorsWriter writer(folder / "w", shapes, {{"step", "7"}});
    writer.write("b", at::full({1, 3}, 0.5, at::kDouble));
    EXPECT_THROW(writer.commit(), std::logic_error);
    EXPECT_THROW(writer.write("b", at::ones({1, 3})), std::invalid_argument);
    EXPECT_THROW(writer.write("a", at::ones({3})), std::invalid_argument);
    writer.write("a", at::tensor({1.0, 2.0}));
    EXPECT_FALSE(std::filesystem::exists(folder / "w"));
    writer.commit();
  }
  const NamedTensors read = read_safetensors(folder / "w");
  EXPECT_TRUE(read.at("a").equal(at::tensor({1.0F, 2.0F})));
  EXPECT_TRUE(read.at("b").equal(at::full({1, 3}, 0.5, at::kHalf)));
  EXPECT_THAT(read_safetensors_metadata(folder / "w"),
              testing::ElementsAre(std::pair("format", "pt"), std::pair("step", "7")));
  { const SafetensorsWriter given_up(folder / "x", shapes); }
  EXPECT_THAT(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(Safetensors, ANameGivenTwiceOrATypeOfNoNameIsNotWritten) {
  const TemporaryDirectory folder;
  EXPECT_THROW(write_safetensors(folder / "w", {{"a", at::zeros(1)}, {"a", at::zeros(1)}}), std::invalid_argument);
  EXPECT_THROW(write_safetensors(folder / "w", {{"a", at::zeros(1, at::kComplexFloat)}}), std::invalid_argument);
  EXPECT_FALSE(std::filesystem::exists(folder / "w"));
}

TEST(Safetensors, ADiskThatIsFullLeavesTheOldFileAndNothingElse) {
  const TemporaryDirectory folder;
  write_safetensors(folder / "w", {{"a", at::ones(1)}});
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{4096, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  std::string message = "no error";
  try {
    write_safetensors(folder / "w", {{"a", at::zeros(100'000)}});
  } catch (const RunError& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_THAT(message, AllOf(HasSubstr("cannot write"), HasSubstr("File too large")));
  EXPECT_FALSE(std::filesystem::exists(folder / "w.tmp"));
  EXPECT_TRUE(read_safetensors(folder / "w").at("a").equal(at::ones(1)));
  EXPECT_THROW(write_safetensors(folder / "no/such/folder/w", {{"a", at::zeros(1)}}), RunError);
}

}  // namespace
}  // namespace lshdp::model
