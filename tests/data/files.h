// Small data sets that tests write and read back.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <H5Cpp.h>
#include <gtest/gtest.h>

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
  writer.commit("byte", "a test");
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
