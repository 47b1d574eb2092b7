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
  for (const auto type :
       {at::kByte, at::kBool, at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt}) {
    tensors.emplace_back(c10::toString(type), type == at::kByte ? (values + 2).to(type) : values.to(type));
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
    EXPECT_TRUE(read.at(name).equal(tensor)) << name;
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

TEST(Safetensors, AnUnknownTypeOrAnEntryWithOtherKeysIsRefused) {
  EXPECT_THAT(error_of(file_of(R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", "x")),
              AllOf(HasSubstr("F8_E4M3"), HasSubstr("BF16")));
  EXPECT_THAT(error_of(file_of(R"({"a":{"dtype":"F32","shape":[1]}})", "xxxx")),
              HasSubstr("dtype, shape and data_offsets"));
  EXPECT_THAT(error_of(file_of(R"({"a":{"dtype":"F32","shape":[1],"offsets":[0,4]}})", "xxxx")),
              HasSubstr("\"data_offsets\" is missing"));
  EXPECT_THAT(error_of(file_of(R"({"a":7})", "")), HasSubstr("dtype, shape and data_offsets"));
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

TEST(Safetensors, ANameGivenTwiceOrATypeOfNoNameIsNotWritten) {
  const TemporaryDirectory folder;
  EXPECT_THROW(write_safetensors(folder / "w", {{"a", at::zeros(1)}, {"a", at::zeros(1)}}), std::invalid_argument);
  EXPECT_THROW(write_safetensors(folder / "w", {{"a", at::zeros(1, at::kShort)}}), std::invalid_argument);
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
