// Readers of the formats that data sets are published in.
#include <filesystem>

#include <gtest/gtest.h>
#include <zlib.h>

#include "image.h"
#include "lshdp/core/file.h"
#include "lshdp/data/formats.h"
#include "reader.h"
#include "scratch_file.h"
#include "token_file.h"

namespace lshdp::test {
namespace {

std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string idx(const std::string& header, std::size_t values) {
  return std::string("\0\0\x08", 3) + header + std::string(values, 'v');
}

std::vector<std::string> idx_files() {
  return {idx(std::string("\1\0\0\0\5", 5), 5), idx(std::string("\3\0\0\0\2\0\0\0\3\0\0\0\2", 13), 12),
          idx(std::string("\2\0\0\0\0\xff\xff\xff\xff", 9), 0)};
}

void read_idx(const std::string& file) {
  const data::IdxArray array = data::parse_idx(bytes(file), "F");
  std::int64_t count = 1;
  for (const std::int64_t length : array.shape) count *= length;
  EXPECT_EQ(array.values.size(), static_cast<std::size_t>(count));
}

std::vector<std::string> cifar10_files() {
  const std::string record = '\7' + std::string(3072, 'p');
  return {record, record + record};
}

void read_cifar10(const std::string& file) {
  const data::Cifar10Batch batch = data::parse_cifar10(bytes(file), "F");
  EXPECT_EQ(batch.pixels.size(), batch.labels.size() * 3072);
  for (const std::int64_t label : batch.labels) EXPECT_TRUE(label >= 0 && label <= 9);
}

std::string numpy_file(const std::string& dictionary, std::size_t data_bytes) {
  return std::string("\x93NUMPY\1\0", 8) + static_cast<char>(dictionary.size()) + '\0' + dictionary +
         std::string(data_bytes, '\1');
}

std::vector<std::string> numpy_files() {
  return {numpy_file("{'descr': '<u2', 'fortran_order': False, 'shape': (400,), }\n", 0),
          numpy_file("{'descr': '>i8', 'fortran_order': True, 'shape': (3,), }\n", 0)};
}

void read_numpy_header(const std::string& text) {
  const data::NumpyHeader header = data::parse_numpy_header(bytes(text), "F");
  EXPECT_LE(header.offset, static_cast<std::int64_t>(text.size()));
  EXPECT_FALSE(data::to_text(header.type).empty());
}

/// NumPy's, llm.c's two versions, and raw tokens.
std::vector<std::string> token_files() {
  std::string shard(1024, '\0');
  shard.replace(0, 12, std::string("\x88\xd8\x34\x01\1\0\0\0\2\0\0\0", 12));  // 20240520, version 1, 2 tokens
  std::string wide = shard;
  wide.replace(0, 4, std::string("\xa1\xd9\x34\x01", 4));  // 20240801
  return {numpy_file("{'descr': '<u2', 'fortran_order': False, 'shape': (4,), }\n", 8), shard + std::string(4, '\1'),
          wide + std::string("\1\0\0\0\2\0\0\0", 8), std::string("\1\2\3\4\5\6\7\10", 8)};
}

/// As raw 16-bit integers where the file has no header.
void read_token_file(const std::string& content) {
  const ScratchFile file(content);
  const auto tokens_of = [&](const data::TokenFormat& format) {
    const data::TokenFile tokens(file.path(), format);
    std::int64_t count = 0;
    tokens.for_each_block([&](std::span<const std::uint32_t> block, std::int64_t first) {
      EXPECT_EQ(first, count);
      count += std::ssize(block);
    });
    EXPECT_EQ(count, tokens.count());
    tokens.doubt();
  };
  try {
    tokens_of({});
  } catch (const UsageError&) {
    tokens_of({.type = data::IntegerType{.bytes = 2}});
  }
}

/// "hello hello hello hello" by gzip -9, without a name.
std::vector<std::string> gzip_files() {
  const std::string file(
      "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\x01\xe3\x51\x3d\x8d\x17\x00\x00"
      "\x00",
      28);
  return {file, file + file, "plain"};
}

void unpack(const std::string& text) { data::decompressed(bytes(text), "F"); }

/// The images that tests/data decodes whose names begin with `prefix`.
std::vector<std::string> images(const std::string& prefix) {
  std::vector<std::filesystem::path> paths;
  const auto tests = std::filesystem::path(LSHDP_TEST_DATA).parent_path().parent_path();
  for (const auto& entry : std::filesystem::directory_iterator(tests / "data/data/images")) {
    const bool reference = entry.path().extension() == ".ppm" || entry.path().extension() == ".pgm";
    if (!reference && entry.path().filename().string().starts_with(prefix)) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> files;
  for (const auto& path : paths) files.push_back(read_file(path));
  return files;
}

void decode(const std::string& file) {
  const data::Image image = data::decode_image(file, "F", 3, 1 << 16);
  EXPECT_EQ(image.pixels.size(), static_cast<std::size_t>(3 * image.height * image.width));
}

std::uint32_t big_endian(const std::string& text, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = at; i < at + 4; ++i) value = value << 8 | static_cast<unsigned char>(text[i]);
  return value;
}

/// With right checksums in all chunks: otherwise no mutation would get past them.
std::string repaired(std::string png) {
  for (std::size_t at = 8; at + 12 <= png.size();) {
    const std::size_t length = big_endian(png, at);
    if (length > png.size() - at - 12) break;
    const auto check = static_cast<std::uint32_t>(
        crc32(0, reinterpret_cast<const Bytef*>(png.data() + at + 4), static_cast<uInt>(length + 4)));
    for (std::size_t i = 0; i < 4; ++i) png[at + 8 + length + i] = static_cast<char>(check >> (24 - 8 * i));
    at += length + 12;
  }
  return png;
}

std::vector<std::string> jpeg_files() { return images("jpeg-"); }
std::vector<std::string> webp_files() { return images("webp-"); }
std::vector<std::string> png_files() { return images("png-"); }
void decode_repaired(const std::string& file) { decode(repaired(file)); }

}  // namespace

std::vector<Reader> readers() {
  return {{"Idx", idx_files, read_idx},
          {"Cifar10", cifar10_files, read_cifar10},
          {"NumpyHeader", numpy_files, read_numpy_header},
          {"TokenFile", token_files, read_token_file},
          {"Gzip", gzip_files, unpack},
          {"Jpeg", jpeg_files, decode},
          {"Webp", webp_files, decode},
          {"Png", png_files, decode_repaired}};
}

}  // namespace lshdp::test
