// Identities of data sets: the same values give the same checksum, one other value gives another.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "files.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/data/identity.h"
#include "support/temporary_directory.h"

namespace lshdp::data {
namespace {

using lshdp::test::TemporaryDirectory;
namespace fs = std::filesystem;

class Identity : public testing::Test {
 protected:
  /// A file made by another program, of which one value can be chosen.
  template <typename T>
  std::string checksum_of_tokens(const H5::PredType& type, const H5::PredType& memory, T last) {
    const fs::path path = folder_ / "t.h5";
    {
      H5::H5File file(path.string(), H5F_ACC_TRUNC);
      test::add_array<T>(file, "tokens", type, {4}, {1, 2, 3, last}, memory);
      test::add_number(file, "vocabulary", 300);
    }
    return identity_of(path).checksum;
  }
  /// A large set of one value but at `place`.
  DatasetIdentity large(std::int64_t place, std::int64_t whole_bytes) {
    constexpr std::int64_t count = 20'000'000;  // 305 blocks of 256 KiB
    TokenWriter writer(folder_ / "large.h5", count, 200);
    std::vector<std::uint32_t> tokens(1'000'000);
    for (std::int64_t at = 0; at < count; at += static_cast<std::int64_t>(tokens.size())) {
      if (place >= at && place < at + static_cast<std::int64_t>(tokens.size()))
        tokens[static_cast<std::size_t>(place - at)] = 7;
      writer.add(tokens);
      tokens.assign(tokens.size(), 0);
    }
    writer.commit({"byte", {}, {}, {}}, "a test");
    return identity_of(folder_ / "large.h5", whole_bytes);
  }

  TemporaryDirectory folder_;
};

TEST_F(Identity, TellsWhatAnImageSetHolds) {
  test::write_images(folder_ / "d.h5", 10);
  const DatasetIdentity identity = identity_of(folder_ / "d.h5");
  const Json json = to_json(identity);
  EXPECT_EQ(json["kind"], "images");
  EXPECT_EQ(json["count"], 10);
  EXPECT_EQ(json["shape"], Json({2, 3, 4}));
  EXPECT_EQ(json["class_names"], Json({"a", "b", "c"}));
  EXPECT_EQ(json["sampled"], false);
  EXPECT_THAT(identity.checksum, testing::MatchesRegex("xxh3-128:[0-9a-f]+"));
  EXPECT_EQ(describe_size(identity.info), "10 images of 2 x 3 x 4");
}

TEST_F(Identity, ChangesWithAPixelALabelAndTheNumberOfImages) {
  const auto checksum = [&](std::int64_t count, std::uint8_t pixel, std::int64_t label) {
    ImageWriter writer(folder_ / "d.h5", {count, 1, 1, 2});
    for (std::int64_t n = 1; n < count; ++n) writer.add(std::vector<std::uint8_t>{1, 2}, std::vector<std::int64_t>{0});
    writer.add(std::vector<std::uint8_t>{1, pixel}, std::vector<std::int64_t>{label});
    writer.commit({"a", "b"}, "a test");
    return identity_of(folder_ / "d.h5").checksum;
  };
  const std::string first = checksum(5, 2, 0);
  EXPECT_EQ(checksum(5, 2, 0), first);
  EXPECT_NE(checksum(5, 3, 0), first);
  EXPECT_NE(checksum(5, 2, 1), first);
  EXPECT_NE(checksum(6, 2, 0), first);
}

TEST_F(Identity, DoesNotDependOnTheStoredType) {
  const std::string first = checksum_of_tokens<std::uint32_t>(H5::PredType::STD_U32LE, H5::PredType::NATIVE_UINT32, 4);
  EXPECT_EQ(checksum_of_tokens<std::uint16_t>(H5::PredType::STD_U16BE, H5::PredType::NATIVE_UINT16, 4), first);
  EXPECT_NE(checksum_of_tokens<std::uint16_t>(H5::PredType::STD_U16BE, H5::PredType::NATIVE_UINT16, 5), first);
}

TEST_F(Identity, ReadsALargeSetInPartsAndSaysSo) {
  const DatasetIdentity whole = large(-1, std::int64_t{512} << 20), sampled = large(-1, 1 << 20);
  EXPECT_FALSE(whole.sampled);
  EXPECT_TRUE(sampled.sampled);
  EXPECT_NE(whole.checksum, sampled.checksum);
  EXPECT_EQ(large(-1, 1 << 20).checksum, sampled.checksum);
  EXPECT_NE(large(0, 1 << 20).checksum, sampled.checksum);           // the first block
  EXPECT_NE(large(19'999'999, 1 << 20).checksum, sampled.checksum);  // the last one
}

TEST_F(Identity, RefusesWhatIsNoDataSet) {
  write_file(folder_ / "x.h5", "text");
  EXPECT_THAT(test::usage_error([&] { identity_of(folder_ / "x.h5"); }), testing::HasSubstr("is not an HDF5 file"));
}

}  // namespace
}  // namespace lshdp::data
