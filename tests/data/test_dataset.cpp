// Data sets in HDF5: what is read is what was written, by either way of reading, and damage is named.
#include <numeric>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "files.h"
#include "lshdp/core/file.h"
#include "lshdp/data/dataset.h"
#include "support/temporary_directory.h"

namespace lshdp::data {
namespace {

using lshdp::test::TemporaryDirectory;
using testing::ElementsAre;
using testing::HasSubstr;
using Numbers = std::vector<std::int64_t>;

Numbers numbers(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kLong).contiguous();
  return {flat.const_data_ptr<std::int64_t>(), flat.const_data_ptr<std::int64_t>() + flat.numel()};
}

/// In memory, and sample by sample.
class DatasetTest : public testing::TestWithParam<std::int64_t> {
 protected:
  std::unique_ptr<Dataset> open(const char* name, std::int64_t context, Windows windows = Windows::fixed) {
    return open_dataset(folder_ / name, context, windows, GetParam());
  }

  TemporaryDirectory folder_;
};
INSTANTIATE_TEST_SUITE_P(InMemoryLimit, DatasetTest, testing::Values(0, 1 << 20));

TEST_P(DatasetTest, ReadsImagesInTheOrderAskedFor) {
  test::write_images(folder_ / "d.h5", 10);
  const auto dataset = open("d.h5", 0);
  EXPECT_EQ(dataset->size(), 10);
  const Batch batch = dataset->read(Numbers{4, 5, 6, 2, 9, 0});
  EXPECT_THAT(batch.input.sizes(), ElementsAre(6, 2, 3, 4));
  EXPECT_EQ(batch.input.scalar_type(), at::kByte);
  EXPECT_THAT(numbers(batch.target), ElementsAre(1, 2, 0, 2, 0, 0));
  EXPECT_THAT(numbers(batch.input.select(1, 0).select(1, 0).select(1, 0)), ElementsAre(40, 50, 60, 20, 90, 0));
  EXPECT_THAT(numbers(batch.input.select(1, 1).select(1, 2).select(1, 3)), ElementsAre(63, 73, 83, 43, 113, 23));
}

TEST_P(DatasetTest, ReadsWindowsOfTokensAndTheirSuccessors) {
  test::write_tokens(folder_ / "t.h5", 23, 300);
  const auto dataset = open("t.h5", 5);
  EXPECT_EQ(dataset->size(), 4);
  const Batch batch = dataset->read(Numbers{1, 2, 0});
  EXPECT_THAT(numbers(batch.input), ElementsAre(5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0, 1, 2, 3, 4));
  EXPECT_THAT(numbers(batch.target), ElementsAre(6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 1, 2, 3, 4, 5));
  EXPECT_EQ(batch.samples(), 3);
}

TEST_P(DatasetTest, ReadsWindowsThatBeginAnywhere) {
  test::write_tokens(folder_ / "t.h5", 23, 300);
  const auto dataset = open("t.h5", 5, Windows::anywhere);
  EXPECT_EQ(dataset->size(), 18);
  const Batch batch = dataset->read(Numbers{17, 3, 4, 3});
  EXPECT_THAT(numbers(batch.input), ElementsAre(17, 18, 19, 20, 21, 3, 4, 5, 6, 7, 4, 5, 6, 7, 8, 3, 4, 5, 6, 7));
  EXPECT_THAT(numbers(batch.target), ElementsAre(18, 19, 20, 21, 22, 4, 5, 6, 7, 8, 5, 6, 7, 8, 9, 4, 5, 6, 7, 8));
  EXPECT_THAT(test::usage_error([&] { dataset->read(Numbers{18}); }), HasSubstr("no sample 18; the data set has 18"));
}

TEST_P(DatasetTest, GivesNoSamplesForNone) {
  test::write_images(folder_ / "d.h5", 3);
  test::write_tokens(folder_ / "t.h5", 23, 300);
  EXPECT_THAT(open("d.h5", 0)->read({}).input.sizes(), ElementsAre(0, 2, 3, 4));
  EXPECT_THAT(open("t.h5", 4)->read({}).target.sizes(), ElementsAre(0, 4));
}

TEST_P(DatasetTest, RefusesSamplesItDoesNotHave) {
  test::write_images(folder_ / "d.h5", 3);
  const auto dataset = open("d.h5", 0);
  EXPECT_THAT(test::usage_error([&] { dataset->read(Numbers{2, 3}); }), HasSubstr("no sample 3"));
  EXPECT_THAT(test::usage_error([&] { dataset->read(Numbers{-1}); }), HasSubstr("no sample -1"));
}

TEST_P(DatasetTest, NamesTheSampleWithALabelOutOfRange) {
  ImageWriter writer(folder_ / "d.h5", {2, 1, 1, 1});
  writer.add(std::vector<std::uint8_t>{1, 2}, Numbers{0, 7});
  writer.commit({"a", "b"}, "");
  const auto dataset = open("d.h5", 0);
  EXPECT_NO_THROW(dataset->read(Numbers{0}));
  EXPECT_THAT(test::usage_error([&] {
                dataset->read(Numbers{0, 1});
              }),
              HasSubstr("label of image 1 is 7; it must be from 0 to 1"));
}

TEST_P(DatasetTest, NamesTheTokenOutOfRange) {
  for (const std::int64_t bad : {std::int64_t{50}, std::int64_t{-1}, std::int64_t{1} << 40}) {
    {
      H5::H5File file((folder_ / "t.h5").string(), H5F_ACC_TRUNC);
      test::add_array<std::int64_t>(file, "tokens", H5::PredType::STD_I64LE, {7}, {1, 2, 3, 4, bad, 6, 7},
                                    H5::PredType::NATIVE_INT64);
      test::add_number(file, "vocabulary", 50);
    }
    const auto dataset = open("t.h5", 3);
    EXPECT_THAT(test::usage_error([&] { dataset->read(Numbers{1}); }), HasSubstr("token 4 (in sample 1)"));
    EXPECT_NO_THROW(dataset->read(Numbers{0}));
  }
}

class OpenDataset : public testing::Test {
 protected:
  std::string error(std::int64_t context = 4) {
    return test::usage_error([&] { open_dataset(path_, context); });
  }
  H5::H5File create() { return {path_.string(), H5F_ACC_TRUNC}; }
  static void add_images(H5::H5File& file, hsize_t count) {
    test::add_array<std::uint8_t>(file, "images", H5::PredType::STD_U8LE, {count, 1, 2, 2},
                                  std::vector<std::uint8_t>(count * 4, 1), H5::PredType::NATIVE_UINT8);
  }
  static void add_labels(H5::H5File& file, hsize_t count) {
    test::add_array<std::int32_t>(file, "labels", H5::PredType::STD_I32LE, {count}, std::vector<std::int32_t>(count, 4),
                                  H5::PredType::NATIVE_INT32);
  }
  static void add_tokens(H5::H5File& file, hsize_t count) {
    test::add_array<std::uint16_t>(file, "tokens", H5::PredType::STD_U16LE, {count},
                                   std::vector<std::uint16_t>(count, 1), H5::PredType::NATIVE_UINT16);
  }

  TemporaryDirectory folder_;
  std::filesystem::path path_ = folder_ / "d.h5";
};

TEST_F(OpenDataset, ReadsWhatTheWriterSaidAboutImages) {
  test::write_images(path_, 4);
  const DatasetInfo info = open_dataset(path_, 0)->info();
  EXPECT_EQ(info.kind, DatasetInfo::Kind::images);
  EXPECT_THAT((Numbers{info.count, info.channels, info.height, info.width, info.classes}), ElementsAre(4, 2, 3, 4, 3));
  EXPECT_THAT(info.class_names, ElementsAre("a", "b", "c"));
  EXPECT_EQ(info.source, "a test");
  // Channel 0 holds 10 n + 0..11: mean 15 + 5.5, variance 125 + 143 / 12.
  EXPECT_NEAR(info.mean[0], 20.5 / 255, 1e-12);
  EXPECT_NEAR(info.mean[1], 32.5 / 255, 1e-12);
  EXPECT_NEAR(info.deviation[0], std::sqrt(125 + 143.0 / 12) / 255, 1e-12);
}

TEST_F(OpenDataset, ReadsWhatTheWriterSaidAboutTokens) {
  test::write_tokens(path_, 40, 7);
  const DatasetInfo info = open_dataset(path_, 4)->info();
  EXPECT_EQ(info.kind, DatasetInfo::Kind::tokens);
  EXPECT_THAT((Numbers{info.count, info.vocabulary}), ElementsAre(40, 7));
  EXPECT_EQ(info.tokenizer, "byte");
}

TEST_F(OpenDataset, CountsClassesByLabelWhereNamesAreMissing) {
  {
    H5::H5File file = create();
    add_images(file, 2);
    add_labels(file, 2);
    test::add_numbers(file, "mean", {0.5});
    test::add_numbers(file, "deviation", {0.25});
  }
  EXPECT_EQ(open_dataset(path_, 0)->info().classes, 5);
}

TEST_F(OpenDataset, RefusesALabelThatNoClassCanHave) {
  {
    H5::H5File file = create();
    add_images(file, 1);
    test::add_array<std::int64_t>(file, "labels", H5::PredType::STD_I64LE, {1},
                                  {std::numeric_limits<std::int64_t>::max()}, H5::PredType::NATIVE_INT64);
    test::add_numbers(file, "mean", {0.5});
    test::add_numbers(file, "deviation", {0.25});
  }
  const auto dataset = open_dataset(path_, 0);
  EXPECT_EQ(dataset->info().classes, std::numeric_limits<std::int32_t>::max());
  EXPECT_THAT(test::usage_error([&] { dataset->read(Numbers{0}); }), HasSubstr("the label of image 0 is 9223372036"));
}

TEST_F(OpenDataset, RefusesImagesOfMoreBytesThanCanBeCounted) {
  {
    H5::H5File file = create();
    const hsize_t shape[] = {1, 1, hsize_t{1} << 32, hsize_t{1} << 32}, chunk[] = {1, 1, 1, 1};
    H5::DSetCreatPropList layout;
    layout.setChunk(4, chunk);
    file.createDataSet("images", H5::PredType::STD_U8LE, H5::DataSpace(4, shape), layout);
    add_labels(file, 1);
  }
  EXPECT_THAT(error(), HasSubstr("images of 1 x 4294967296 x 4294967296, which no memory can hold"));
}

TEST_F(OpenDataset, RefusesArraysThatWereNeverWritten) {
  const hsize_t many = hsize_t{1} << 50, chunk = 16;
  H5::DSetCreatPropList layout;
  layout.setChunk(1, &chunk);
  {
    H5::H5File file = create();
    file.createDataSet("tokens", H5::PredType::STD_U8LE, H5::DataSpace(1, &many), layout);
    test::add_number(file, "vocabulary", 50);
  }
  EXPECT_THAT(error(), HasSubstr("'tokens' claims 1.13e+15 bytes, of which 0 are stored"));
  {
    H5::H5File file = create();
    add_tokens(file, 9);
    test::add_number(file, "vocabulary", 50);
    file.createDataSet("tokenizer.json", H5::PredType::STD_U8LE, H5::DataSpace(1, &many), layout);
  }
  EXPECT_EQ(open_dataset(path_, 4)->size(), 2);
  EXPECT_THAT(test::usage_error([&] { read_tokenizer(path_); }), HasSubstr("'tokenizer.json' claims"));
}

TEST_F(OpenDataset, RefusesArraysThatLieInOtherFiles) {
  write_file(folder_ / "secret", "0123456789");
  {
    H5::H5File file = create();
    const hsize_t count = 10;
    H5::DSetCreatPropList elsewhere;
    elsewhere.setExternal((folder_ / "secret").c_str(), 0, count);
    file.createDataSet("tokens", H5::PredType::STD_U8LE, H5::DataSpace(1, &count), elsewhere);
    test::add_number(file, "vocabulary", 256);
  }
  EXPECT_THAT(error(), HasSubstr("'tokens' lies in another file; copy it into this"));
  {
    H5::H5File file = create();
    const hsize_t count = hsize_t{1} << 40;  // of which no file need hold one
    H5::DSetCreatPropList parts;
    parts.setVirtual(H5::DataSpace(1, &count), "missing.h5", "tokens", H5::DataSpace(1, &count));
    file.createDataSet("tokens", H5::PredType::STD_U8LE, H5::DataSpace(1, &count), parts);
    test::add_number(file, "vocabulary", 256);
  }
  EXPECT_THAT(error(), HasSubstr("'tokens' lies in another file; copy it into this"));
}

TEST_F(OpenDataset, RefusesWhatIsNoDataSet) {
  EXPECT_THAT(error(), HasSubstr("No such file"));
  write_file(path_, "text");
  EXPECT_THAT(error(), HasSubstr("is not an HDF5 file"));
  create();
  EXPECT_THAT(error(), HasSubstr("neither 'images' nor 'tokens'"));
  path_ = folder_.path();
  EXPECT_THAT(error(), HasSubstr("is a folder"));
}

TEST_F(OpenDataset, RefusesATruncatedFile) {
  test::write_images(path_, 500);
  const auto size = std::filesystem::file_size(path_);
  for (const auto kept : {size / 2, size - 1, std::uintmax_t{200}}) {
    std::filesystem::resize_file(path_, kept);
    EXPECT_THAT(error(), HasSubstr("truncated file"));
  }
}

TEST_F(OpenDataset, RefusesImagesWithoutAsManyLabels) {
  {
    H5::H5File file = create();
    add_images(file, 2);
  }
  EXPECT_THAT(error(), HasSubstr("no 'labels'"));
  {
    H5::H5File file = create();
    add_images(file, 2);
    add_labels(file, 3);
  }
  EXPECT_THAT(error(), HasSubstr("2 images but 3 labels"));
}

TEST_F(OpenDataset, RefusesImagesWithoutUsableStatistics) {
  {
    H5::H5File file = create();
    add_images(file, 2);
    add_labels(file, 2);
    test::add_numbers(file, "mean", {0.5});
  }
  EXPECT_THAT(error(), HasSubstr("no attribute 'deviation'"));
  {
    H5::H5File file(path_.string(), H5F_ACC_RDWR);
    test::add_numbers(file, "deviation", {0.0});
  }
  EXPECT_THAT(error(), HasSubstr("above 0"));
  {
    H5::H5File file(path_.string(), H5F_ACC_RDWR);
    file.removeAttr("deviation");
    test::add_numbers(file, "deviation", {1, 1, 1});
  }
  EXPECT_THAT(error(), HasSubstr("must hold 1 numbers"));
}

TEST_F(OpenDataset, RefusesStatisticsOfBytes) {
  {
    H5::H5File file = create();
    add_images(file, 2);
    add_labels(file, 2);
    test::add_numbers(file, "mean", {123.5});
    test::add_numbers(file, "deviation", {58});
  }
  EXPECT_THAT(error(), HasSubstr("divide them by 255"));
}

TEST_F(OpenDataset, SaysWhatTheSystemSaid) {
  test::write_images(path_, 4);
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  rlimit none = limit;
  none.rlim_cur = 3;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const std::string message = error();
  setrlimit(RLIMIT_NOFILE, &limit);
  EXPECT_THAT(message, HasSubstr("Too many open files"));
}

TEST_F(OpenDataset, SaysThatAnotherProgramIsWriting) {
  test::write_images(path_, 4);
  const int other = open(path_.c_str(), O_RDWR);
  ASSERT_EQ(flock(other, LOCK_EX | LOCK_NB), 0);
  EXPECT_THAT(error(), HasSubstr("another program has it open for writing"));
  close(other);
  EXPECT_EQ(open_dataset(path_, 0)->size(), 4);
}

TEST_F(OpenDataset, RefusesArraysOfWrongTypeShapeOrLength) {
  {
    H5::H5File file = create();
    test::add_array<float>(file, "images", H5::PredType::IEEE_F32LE, {1, 1, 1, 1}, {1}, H5::PredType::NATIVE_FLOAT);
  }
  EXPECT_THAT(error(), HasSubstr("'images' must hold integers"));
  {
    H5::H5File file = create();
    test::add_array<std::uint8_t>(file, "images", H5::PredType::STD_U16LE, {1, 1, 1, 1}, {1},
                                  H5::PredType::NATIVE_UINT8);
  }
  EXPECT_THAT(error(), HasSubstr("'images' must hold bytes"));
  {
    H5::H5File file = create();
    test::add_array<std::uint8_t>(file, "images", H5::PredType::STD_U8LE, {1, 1}, {1}, H5::PredType::NATIVE_UINT8);
  }
  EXPECT_THAT(error(), HasSubstr("2 dimensions; it must have 4"));
  {
    H5::H5File file = create();
    add_images(file, 0);
  }
  EXPECT_THAT(error(), HasSubstr("'images' is empty"));
  {
    H5::H5File file = create();
    add_tokens(file, 0);
  }
  EXPECT_THAT(error(), HasSubstr("'tokens' is empty"));
}

TEST_F(OpenDataset, RefusesTokensWithoutVocabularyOrShorterThanAWindow) {
  {
    H5::H5File file = create();
    add_tokens(file, 4);
  }
  EXPECT_THAT(error(), HasSubstr("no attribute 'vocabulary'"));
  {
    H5::H5File file(path_.string(), H5F_ACC_RDWR);
    test::add_number(file, "vocabulary", 0);
  }
  EXPECT_THAT(error(), HasSubstr("from 1 to"));
  test::write_tokens(path_, 4, 9);
  EXPECT_THAT(error(4), HasSubstr("needs 5"));
  EXPECT_THAT(error(0), HasSubstr("at least 1"));
  EXPECT_EQ(open_dataset(path_, 3)->size(), 1);
}

}  // namespace
}  // namespace lshdp::data
