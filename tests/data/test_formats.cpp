// gzip, IDX and CIFAR-10 against bytes made by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "files.h"
#include "lshdp/data/formats.h"

namespace lshdp::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string text(const std::vector<std::byte>& data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

std::string error_of_idx(const std::string& file) {
  return test::usage_error([&] { parse_idx(bytes(file), "F"); });
}

TEST(Gzip, PassesOtherBytesThrough) {
  EXPECT_EQ(text(decompressed(bytes("plain"), "F")), "plain");
  EXPECT_EQ(text(decompressed({}, "F")), "");
}

TEST(Gzip, DecompressesOneOrSeveralMembers) {
  std::string large(300000, 'x');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * i >> 7);
  const std::string file = test::gzip(large) + test::gzip("") + test::gzip("end");
  EXPECT_EQ(text(decompressed(bytes(file), "F")), large + "end");
}

TEST(Gzip, RefusesEveryTruncation) {
  const std::string file = test::gzip("some text, some text");
  for (std::size_t kept = 2; kept < file.size(); ++kept) {
    EXPECT_THAT(test::usage_error([&] { decompressed(bytes(file.substr(0, kept)), "F"); }),
                HasSubstr("F: the gzip file is truncated"));
  }
}

TEST(Gzip, RefusesDamageAndWhatFollowsTheEnd) {
  std::string file = test::gzip("some text, some text");
  EXPECT_THAT(test::usage_error([&] { decompressed(bytes(file + "more"), "F"); }), HasSubstr("after the end"));
  file[file.size() - 6] ^= 1;  // the checksum
  EXPECT_THAT(test::usage_error([&] { decompressed(bytes(file), "F"); }), HasSubstr("damaged: incorrect data check"));
}

TEST(Idx, ReadsShapeAndValues) {
  const std::string file = test::idx({2, 1, 3}, "abcdef");
  const IdxArray array = parse_idx(bytes(file), "F");
  EXPECT_THAT(array.shape, ElementsAre(2, 1, 3));
  EXPECT_EQ(std::to_integer<char>(array.values[4]), 'e');
  EXPECT_EQ(array.values.size(), 6U);
}

TEST(Idx, ReadsLengthsAboveOneByte) {
  EXPECT_THAT(parse_idx(bytes(test::idx({70000}, std::string(70000, 'x'))), "F").shape, ElementsAre(70000));
}

TEST(Idx, RefusesOtherMagicNumbersAndTypes) {
  EXPECT_THAT(error_of_idx(""), HasSubstr("F: is not an IDX file"));
  EXPECT_THAT(error_of_idx("\x89PNG...."), HasSubstr("is not an IDX file"));
  EXPECT_THAT(error_of_idx(std::string("\0\0\x0d\1\0\0\0\0", 8)), HasSubstr("type 0x0d; only unsigned bytes"));
  EXPECT_THAT(error_of_idx(std::string("\0\0\x08\0", 4)), HasSubstr("no dimensions"));
}

TEST(Idx, RefusesWrongLengths) {
  EXPECT_THAT(error_of_idx(std::string("\0\0\x08\3\0\0", 6)), HasSubstr("header is truncated: 6 of 16 bytes"));
  EXPECT_THAT(error_of_idx(test::idx({2, 3}, "abcde")),
              HasSubstr("is truncated: 5 bytes after the header, its shape needs 6"));
  EXPECT_THAT(error_of_idx(test::idx({2, 3}, "abcdefg")), HasSubstr("is too long"));
  EXPECT_THAT(error_of_idx(test::idx({0xffffffff, 0xffffffff, 0xffffffff}, "")), HasSubstr("impossible"));
}

TEST(Cifar10, ReadsLabelsAndPlanes) {
  const std::string file = test::cifar10_record(3, 'r', 'g', 'b') + test::cifar10_record(9, 'x', 'y', 'z');
  const Cifar10Batch batch = parse_cifar10(bytes(file), "F");
  EXPECT_THAT(batch.labels, ElementsAre(3, 9));
  EXPECT_EQ(batch.pixels.size(), 2U * 3072);
  EXPECT_EQ(batch.pixels[1023], 'r');
  EXPECT_EQ(batch.pixels[1024], 'g');
  EXPECT_EQ(batch.pixels[3071], 'b');
  EXPECT_EQ(batch.pixels[3072], 'x');
}

TEST(Cifar10, RefusesOddSizesAndLabels) {
  const std::string record = test::cifar10_record(3, 'r', 'g', 'b');
  EXPECT_THAT(test::usage_error([&] { parse_cifar10({}, "F"); }), HasSubstr("F: is empty"));
  EXPECT_THAT(test::usage_error([&] { parse_cifar10(bytes(record + "x"), "F"); }),
              HasSubstr("3074 bytes are not a multiple of 3073"));
  EXPECT_THAT(test::usage_error([&] { parse_cifar10(bytes(record + test::cifar10_record(10, 1, 2, 3)), "F"); }),
              HasSubstr("label of record 1 is 10"));
}

}  // namespace
}  // namespace lshdp::data
