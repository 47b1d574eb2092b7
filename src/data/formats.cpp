// gzip through zlib, IDX and CIFAR-10 by hand.
#include "lshdp/data/formats.h"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>

#include <fmt/format.h>
#include <zlib.h>

#include "lshdp/core/error.h"

namespace lshdp::data {
namespace {

using Bytes = std::span<const std::byte>;

[[noreturn]] void refuse(const std::string& source, const std::string& problem) {
  throw UsageError(fmt::format("{}: {}", source, problem));
}

bool is_gzip(Bytes bytes) { return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b}; }

/// Owns zlib's state.
class Inflater {
 public:
  Inflater() {
    constexpr int gzip_only = 16 + MAX_WBITS;
    if (inflateInit2(&stream_, gzip_only) != Z_OK) throw RunError("cannot decompress: not enough memory");
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  /// Appends one member to `out` and returns how many bytes of `in` it took.
  std::size_t member(Bytes in, std::vector<std::byte>& out, const std::string& source) {
    inflateReset(&stream_);
    std::array<std::byte, 1 << 16> block;
    std::size_t taken = 0;
    for (int result = Z_OK; result != Z_STREAM_END;) {
      const std::size_t given = std::min<std::size_t>(in.size() - taken, std::numeric_limits<uInt>::max());
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data() + taken));
      stream_.avail_in = static_cast<uInt>(given);
      stream_.next_out = reinterpret_cast<Bytef*>(block.data());
      stream_.avail_out = static_cast<uInt>(block.size());
      result = inflate(&stream_, Z_NO_FLUSH);
      taken += given - stream_.avail_in;
      out.insert(out.end(), block.begin(), block.end() - static_cast<std::ptrdiff_t>(stream_.avail_out));
      if (result == Z_BUF_ERROR) refuse(source, "the gzip file is truncated");
      if (result != Z_OK && result != Z_STREAM_END) {
        refuse(source,
               fmt::format("the gzip file is damaged: {}", stream_.msg == nullptr ? "no message" : stream_.msg));
      }
    }
    return taken;
  }

 private:
  z_stream stream_{};
};

std::int64_t big_endian(Bytes four) {
  std::int64_t value = 0;
  for (const std::byte byte : four) value = value << 8 | std::to_integer<std::int64_t>(byte);
  return value;
}

/// The number of elements; refuses what no file can hold.
std::int64_t elements(const std::vector<std::int64_t>& shape, const std::string& source) {
  std::int64_t count = 1;
  for (const std::int64_t length : shape) {
    if (length == 0) return 0;
    if (count > std::numeric_limits<std::int64_t>::max() / length)
      refuse(source, "the IDX header's shape is impossible");
    count *= length;
  }
  return count;
}

}  // namespace

std::vector<std::byte> decompressed(Bytes bytes, const std::string& source) {
  if (!is_gzip(bytes)) return {bytes.begin(), bytes.end()};
  Inflater inflater;
  std::vector<std::byte> out;
  while (!bytes.empty()) {
    if (!is_gzip(bytes)) refuse(source, "there is something after the end of the gzip data");
    bytes = bytes.subspan(inflater.member(bytes, out, source));
  }
  return out;
}

IdxArray parse_idx(Bytes bytes, const std::string& source) {
  if (bytes.size() < 4 || bytes[0] != std::byte{0} || bytes[1] != std::byte{0}) {
    refuse(source, "is not an IDX file: it must begin with two zero bytes, a type and a number of dimensions");
  }
  if (bytes[2] != std::byte{8}) {
    refuse(source, fmt::format("holds elements of IDX type {:#04x}; only unsigned bytes (0x08) are supported",
                               std::to_integer<int>(bytes[2])));
  }
  const auto dimensions = std::to_integer<std::size_t>(bytes[3]);
  const std::size_t header = 4 + 4 * dimensions;
  if (dimensions == 0) refuse(source, "the IDX header has no dimensions");
  if (bytes.size() < header)
    refuse(source, fmt::format("the IDX header is truncated: {} of {} bytes", bytes.size(), header));
  IdxArray array;
  for (std::size_t i = 0; i < dimensions; ++i) array.shape.push_back(big_endian(bytes.subspan(4 + 4 * i, 4)));
  array.values = bytes.subspan(header);
  const std::int64_t expected = elements(array.shape, source);
  if (array.values.size() != static_cast<std::uint64_t>(expected)) {
    refuse(source,
           fmt::format("the IDX file {}: {} bytes after the header, its shape needs {}",
                       array.values.size() < static_cast<std::uint64_t>(expected) ? "is truncated" : "is too long",
                       array.values.size(), expected));
  }
  return array;
}

Cifar10Batch parse_cifar10(Bytes bytes, const std::string& source) {
  constexpr std::size_t image = 3 * 32 * 32, record = 1 + image;
  if (bytes.empty()) refuse(source, "is empty");
  if (bytes.size() % record != 0) {
    refuse(source, fmt::format("is no CIFAR-10 batch: {} bytes are not a multiple of {}", bytes.size(), record));
  }
  Cifar10Batch batch;
  batch.pixels.reserve(bytes.size() / record * image);
  for (std::size_t at = 0; at < bytes.size(); at += record) {
    const auto label = std::to_integer<std::int64_t>(bytes[at]);
    if (label > 9)
      refuse(source, fmt::format("the label of record {} is {}; it must be from 0 to 9", at / record, label));
    batch.labels.push_back(label);
    for (const std::byte pixel : bytes.subspan(at + 1, image))
      batch.pixels.push_back(std::to_integer<std::uint8_t>(pixel));
  }
  return batch;
}

}  // namespace lshdp::data
