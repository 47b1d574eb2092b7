// Writing data sets: token width, many class names, and no file left where writing did not end well.
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "files.h"
#include "lshdp/data/dataset.h"
#include "lshdp/data/writer.h"
#include "support/temporary_directory.h"

namespace lshdp::data {
namespace {

using lshdp::test::TemporaryDirectory;
using testing::HasSubstr;

bool is_empty(const TemporaryDirectory& folder) { return std::filesystem::is_empty(folder.path()); }

/// Files may grow to `bytes` only while it lives: a full disk for this process.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_limit_);
    const rlimit limit{bytes, old_limit_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_limit_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_limit_{};
  void (*old_handler_)(int);
};

TEST(TokenWriter, StoresTokensInTheSmallestTypeThatHoldsTheVocabulary) {
  const TemporaryDirectory folder;
  for (const auto& [vocabulary, bytes] : {std::pair{256, 1}, {257, 2}, {65536, 2}, {65537, 4}}) {
    test::write_tokens(folder / "t.h5", 10, vocabulary);
    const H5::H5File file((folder / "t.h5").string(), H5F_ACC_RDONLY);
    EXPECT_EQ(file.openDataSet("tokens").getIntType().getSize(), static_cast<std::size_t>(bytes)) << vocabulary;
  }
}

TEST(ImageWriter, StoresTwentyThousandLongClassNames) {
  const TemporaryDirectory folder;
  std::vector<std::string> names;
  for (int i = 0; i < 20000; ++i) names.push_back("a class whose name says everything, number " + std::to_string(i));
  ImageWriter writer(folder / "d.h5", {1, 1, 1, 1});
  writer.add(std::vector<std::uint8_t>{3}, std::vector<std::int64_t>{19999});
  writer.commit(names, "");
  EXPECT_EQ(open_dataset(folder / "d.h5", 0)->info().class_names, names);
}

TEST(ImageWriter, StoresOtherStatisticsIfGiven) {
  const TemporaryDirectory folder;
  ImageWriter writer(folder / "d.h5", {1, 1, 1, 1});
  writer.add(std::vector<std::uint8_t>{3}, std::vector<std::int64_t>{0});
  writer.commit({"a"}, "", Statistics{{0.25}, {0.5}});
  EXPECT_EQ(open_dataset(folder / "d.h5", 0)->info().mean, std::vector<double>{0.25});
  EXPECT_EQ(open_dataset(folder / "d.h5", 0)->info().deviation, std::vector<double>{0.5});
}

TEST(ImageWriter, GivesAChannelOfOneColourADeviationOfOne) {
  const TemporaryDirectory folder;
  ImageWriter writer(folder / "d.h5", {2, 1, 1, 1});
  writer.add(std::vector<std::uint8_t>{51, 51}, std::vector<std::int64_t>{0, 0});
  writer.commit({"a"}, "");
  EXPECT_NEAR(open_dataset(folder / "d.h5", 0)->info().mean[0], 0.2, 1e-12);
  EXPECT_EQ(open_dataset(folder / "d.h5", 0)->info().deviation[0], 1.0);
}

TEST(Writers, LeaveNothingWithoutCommit) {
  const TemporaryDirectory folder;
  {
    ImageWriter writer(folder / "d.h5", {2, 1, 1, 1});
    writer.add(std::vector<std::uint8_t>{3}, std::vector<std::int64_t>{0});
    TokenWriter tokens(folder / "t.h5", 5, 10);
  }
  EXPECT_TRUE(is_empty(folder));
}

TEST(Writers, KeepTheOldFileUntilTheNewOneIsWhole) {
  const TemporaryDirectory folder;
  test::write_tokens(folder / "t.h5", 10, 10);
  { TokenWriter writer(folder / "t.h5", 99, 10); }
  EXPECT_EQ(open_dataset(folder / "t.h5", 3)->info().count, 10);
}

TEST(Writers, RefuseAFolderThatDoesNotExist) {
  const TemporaryDirectory folder;
  EXPECT_THAT(test::usage_error([&] { ImageWriter(folder / "no/d.h5", {1, 1, 1, 1}); }), HasSubstr("No such file"));
}

TEST(Writers, ReportAFullDiskOnceAndLeaveNoFile) {
  const TemporaryDirectory folder;
  for (const rlim_t limit : {100, 4096, 100000, 290000}) {
    const FileSizeLimit full(limit);
    testing::internal::CaptureStderr();
    try {
      test::write_images(folder / "d.h5", 12000);  // 288,000 bytes of pixels, 96,000 of labels
      ADD_FAILURE() << "no error at " << limit;
    } catch (const RunError& error) {
      EXPECT_THAT(error.what(), HasSubstr("d.h5: File too large"));
    }
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    EXPECT_TRUE(is_empty(folder)) << limit;
  }
  for (const rlim_t limit : {100, 50000}) {
    const FileSizeLimit full(limit);
    EXPECT_THROW(test::write_tokens(folder / "t.h5", 100000, 10), RunError);
    EXPECT_TRUE(is_empty(folder)) << limit;
  }
}

}  // namespace
}  // namespace lshdp::data
