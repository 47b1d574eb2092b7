// Checksums equal those of xxhash's own program, whatever the pieces.
#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/checksum.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "support/temporary_directory.h"

namespace lshdp {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// Reference: `printf ... | xxh128sum` of xxhash 0.8.1.
constexpr const char* kOfNothing = "xxh3-128:99aa06d3014798d86001c324468d497f";

TEST(Checksum, EqualsXxh128sum) {
  EXPECT_EQ(Checksum().text(), kOfNothing);
  Checksum checksum;
  checksum.add(bytes_of("lshdp"));
  EXPECT_EQ(checksum.text(), "xxh3-128:78c49b03536491758d339fcb03bb1052");
}

TEST(Checksum, DoesNotDependOnThePieces) {
  const std::string text(5'000'000, 'x');
  Checksum whole, pieces;
  whole.add(bytes_of(text));
  for (std::size_t begin = 0; begin < text.size(); begin += 4099) {
    pieces.add(bytes_of(std::string_view(text).substr(begin, 4099)));
  }
  EXPECT_EQ(whole.text(), pieces.text());
}

TEST(Checksum, OfAFileIsThatOfItsBytesAndChangesWithAnyBit) {
  const test::TemporaryDirectory folder;
  std::string text(3'000'000, 'y');
  write_file(folder / "a", text);
  Checksum checksum;
  checksum.add(bytes_of(text));
  EXPECT_EQ(checksum_of_file(folder / "a"), checksum.text());
  text[2'500'000] ^= 1;
  write_file(folder / "a", text);
  EXPECT_NE(checksum_of_file(folder / "a"), checksum.text());
}

TEST(Checksum, SaysWhyAFileCannotBeRead) {
  const test::TemporaryDirectory folder;
  try {
    checksum_of_file(folder / "none");
    FAIL() << "read a file that does not exist";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("No such file"));
  }
}

}  // namespace
}  // namespace lshdp
