// Small data sets that tests write and read back.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <H5Cpp.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "lshdp/core/error.h"
#include "lshdp/data/writer.h"

namespace lshdp::data::test {

/// `count` images [2, 3, 4] of classes "a", "b", "c" in turn; byte i of image n is 10 n + i.
inline void write_images(const std::filesystem::path& path, std::int64_t count) {
  ImageWriter writer(path, {count, 2, 3, 4});
  for (std::int64_t n = 0; n < count; ++n) {
    std::vector<std::uint8_t> pixels(24);
    for (std::size_t i = 0; i < 24; ++i) pixels[i] = static_cast<std::uint8_t>(10 * n + static_cast<std::int64_t>(i));
    writer.add(pixels, std::vector<std::int64_t>{n % 3});
  }
  writer.commit({"a", "b", "c"}, "a test");
}

/// Tokens 0, 1, 2, ... modulo the vocabulary.
inline void write_tokens(const std::filesystem::path& path, std::int64_t count, std::int64_t vocabulary) {
  TokenWriter writer(path, count, vocabulary);
  std::vector<std::uint32_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<std::uint32_t>(i % vocabulary));
  writer.add(tokens);
  writer.commit({"byte", {}, {}, {}}, "a test");
}

/// An array of a file made by another program.
template <typename T>
void add_array(H5::H5File& file, const char* name, const H5::PredType& type, const std::vector<hsize_t>& shape,
               const std::vector<T>& values, const H5::PredType& memory_type) {
  const H5::DataSpace space(static_cast<int>(shape.size()), shape.data());
  file.createDataSet(name, type, space).write(values.data(), memory_type);
}

inline void add_numbers(H5::H5File& file, const char* name, const std::vector<double>& values) {
  const hsize_t count = values.size();
  file.createAttribute(name, H5::PredType::IEEE_F32LE, H5::DataSpace(1, &count))
      .write(H5::PredType::NATIVE_DOUBLE, values.data());
}

inline void add_number(H5::H5File& file, const char* name, std::int64_t value) {
  file.createAttribute(name, H5::PredType::STD_I32LE, H5::DataSpace(H5S_SCALAR))
      .write(H5::PredType::NATIVE_INT64, &value);
}

inline std::string big_endian(std::uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

/// An IDX file of unsigned bytes.
inline std::string idx(const std::vector<std::uint32_t>& shape, const std::string& values) {
  std::string file = std::string("\0\0\x08", 3) + static_cast<char>(shape.size());
  for (const std::uint32_t length : shape) file += big_endian(length);
  return file + values;
}

/// One record of CIFAR-10, each plane of one value.
inline std::string cifar10_record(char label, char red, char green, char blue) {
  std::string record(1, label);
  for (const char value : {red, green, blue}) record.append(1024, value);
  return record;
}

/// zlib's format (15) or gzip's (31).
inline std::string deflated(const std::string& text, int window_bits) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string result(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  result.resize(stream.total_out);
  deflateEnd(&stream);
  return result;
}

inline std::string gzip(const std::string& text) { return deflated(text, 31); }

/// A PNG of grey (1 channel) or RGB (3) pixels, interleaved.
inline std::string png(std::uint32_t width, std::uint32_t height, int channels, const std::string& pixels) {
  const auto chunk = [](const std::string& type, const std::string& data) {
    const std::string body = type + data;
    const auto check = crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
    return big_endian(static_cast<std::uint32_t>(data.size())) + body + big_endian(static_cast<std::uint32_t>(check));
  };
  const std::size_t row = width * static_cast<std::size_t>(channels);
  std::string lines;
  for (std::size_t y = 0; y < height; ++y) lines += '\0' + pixels.substr(y * row, row);
  const std::string header =
      big_endian(width) + big_endian(height) + '\x08' + (channels == 1 ? '\0' : '\x02') + std::string(3, '\0');
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + chunk("IDAT", deflated(lines, 15)) + chunk("IEND", "");
}

/// The message of the UsageError that `f` throws.
template <typename F>
std::string usage_error(F f) {
  try {
    f();
  } catch (const UsageError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no UsageError was thrown";
  return "";
}

}  // namespace lshdp::data::test
