// Loops in blocks of fixed length, which the compiler turns into vector instructions.
#include "kernels.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>

namespace lshdp::comm {
namespace {

constexpr std::int64_t kBlock = 64;

/// Calls whole(i) for every block of kBlock elements that begins at i, and single(i) for the rest.
template <typename Whole, typename Single>
void in_blocks(std::int64_t count, const Whole& whole, const Single& single) {
  std::int64_t i = 0;
  for (; i + kBlock <= count; i += kBlock) whole(i);
  for (; i < count; ++i) single(i);
}

template <typename T>
void add(T* __restrict__ into, const T* __restrict__ from, std::int64_t count) {
  in_blocks(
      count,
      [&](std::int64_t begin) {
        T* __restrict__ a = into + begin;
        const T* __restrict__ b = from + begin;
        for (std::int64_t i = 0; i < kBlock; ++i) a[i] += b[i];
      },
      [&](std::int64_t i) { into[i] += from[i]; });
}

float widened(std::uint16_t value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16); }

std::uint16_t rounded(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const std::uint32_t quiet_nan = bits >> 16 | 0x40;
  return static_cast<std::uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? quiet_nan : nearest);
}

}  // namespace

void add_elements(DataType type, void* into, const void* from, std::int64_t count) {
  if (type == DataType::float32) return add(static_cast<float*>(into), static_cast<const float*>(from), count);
  if (type == DataType::float64) return add(static_cast<double*>(into), static_cast<const double*>(from), count);
  throw std::invalid_argument("sums are of float32 or float64 only");
}

void add_bf16(float* into, const std::uint16_t* from, std::int64_t count) {
  in_blocks(
      count,
      [&](std::int64_t begin) {
        float* __restrict__ a = into + begin;
        const std::uint16_t* __restrict__ b = from + begin;
        for (std::int64_t i = 0; i < kBlock; ++i) a[i] += widened(b[i]);
      },
      [&](std::int64_t i) { into[i] += widened(from[i]); });
}

void round_to_bf16(const float* from, std::uint16_t* to, std::int64_t count) {
  in_blocks(
      count,
      [&](std::int64_t begin) {
        const float* __restrict__ a = from + begin;
        std::uint16_t* __restrict__ b = to + begin;
        for (std::int64_t i = 0; i < kBlock; ++i) b[i] = rounded(a[i]);
      },
      [&](std::int64_t i) { to[i] = rounded(from[i]); });
}

void widen_bf16(const void* from, void* to, std::int64_t count) {
  const auto* narrow = static_cast<const std::byte*>(from);
  auto* wide = static_cast<std::byte*>(to);
  // The copies make the overlap harmless: when element i is written, all that is still unread lies behind it.
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    std::uint16_t read[kBlock] = {};
    float write[kBlock];
    const auto length = static_cast<std::size_t>(std::min(kBlock, count - begin));
    std::memcpy(read, narrow + 2 * begin, 2 * length);
    for (std::int64_t i = 0; i < kBlock; ++i) write[i] = widened(read[i]);
    std::memcpy(wide + 4 * begin, write, 4 * length);
  }
}

}  // namespace lshdp::comm
