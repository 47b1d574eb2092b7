// Fuzzes the formats that data sets are published in.
#include <gtest/gtest.h>

#include "driver.h"
#include "lshdp/data/formats.h"

namespace lshdp::test {
namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string idx(const std::string& header, std::size_t values) {
  return std::string("\0\0\x08", 3) + header + std::string(values, 'v');
}

TEST(Fuzz, Idx) {
  const std::vector<std::string> corpus{idx(std::string("\1\0\0\0\5", 5), 5),
                                        idx(std::string("\3\0\0\0\2\0\0\0\3\0\0\0\2", 13), 12),
                                        idx(std::string("\2\0\0\0\0\xff\xff\xff\xff", 9), 0)};
  fuzz_bytes(corpus, [](const std::string& file) {
    const data::IdxArray array = data::parse_idx(bytes(file), "F");
    std::int64_t count = 1;
    for (const std::int64_t length : array.shape) count *= length;
    EXPECT_EQ(array.values.size(), static_cast<std::size_t>(count));
  });
}

TEST(Fuzz, Cifar10) {
  const std::string record = '\7' + std::string(3072, 'p');
  fuzz_bytes({record, record + record}, [](const std::string& file) {
    const data::Cifar10Batch batch = data::parse_cifar10(bytes(file), "F");
    EXPECT_EQ(batch.pixels.size(), batch.labels.size() * 3072);
    for (const std::int64_t label : batch.labels) EXPECT_TRUE(label >= 0 && label <= 9);
  });
}

TEST(Fuzz, Gzip) {
  // "hello hello hello hello" by gzip -9, without a name.
  const std::string file(
      "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\x01\xe3\x51\x3d\x8d\x17\x00\x00"
      "\x00",
      28);
  fuzz_bytes({file, file + file, "plain"}, [](const std::string& text) { data::decompressed(bytes(text), "F"); });
}

}  // namespace
}  // namespace lshdp::test
