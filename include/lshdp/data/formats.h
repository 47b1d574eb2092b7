// The bytes of the formats that data sets are published in, parsed by pure functions.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lshdp::data {

/// `bytes` as they are, or decompressed if they are gzip (RFC 1952, several members allowed). Throws UsageError naming
/// `source`: truncated, damaged, or something after the end.
std::vector<std::byte> decompressed(std::span<const std::byte> bytes, const std::string& source);

/// An array of an IDX file (yann.lecun.com/exdb/mnist, section "file formats").
struct IdxArray {
  std::vector<std::int64_t> shape;
  std::span<const std::byte> values;  // one byte each, last dimension fastest; a view of the bytes parsed
};

/// Throws UsageError naming `source`: wrong magic number, elements other than unsigned bytes, no dimensions, more or
/// fewer bytes than the shape says.
IdxArray parse_idx(std::span<const std::byte> bytes, const std::string& source);

/// Records of a batch of CIFAR-10's binary version.
struct Cifar10Batch {
  std::vector<std::int64_t> labels;  // [n], 0 to 9
  std::vector<std::uint8_t> pixels;  // [n, 3, 32, 32]
};

/// Throws UsageError naming `source`: empty, not a multiple of 3073 bytes, a label above 9.
Cifar10Batch parse_cifar10(std::span<const std::byte> bytes, const std::string& source);

/// Integers as they lie in a file.
struct IntegerType {
  int bytes = 0;  // 1, 2, 4 or 8
  bool is_signed = false, big_endian = false;
  bool operator==(const IntegerType&) const = default;
};
/// "u16" or "i64 (big-endian)".
std::string to_text(const IntegerType& type);

/// The array of a NumPy file (.npy): where its values begin, their number and type.
struct NumpyHeader {
  std::int64_t offset = 0, count = 0;
  IntegerType type;
};

/// `head` begins the file and holds at least its header. Throws UsageError naming `source`: truncated, not of one
/// dimension, no integers.
NumpyHeader parse_numpy_header(std::span<const std::byte> head, const std::string& source);

}  // namespace lshdp::data
