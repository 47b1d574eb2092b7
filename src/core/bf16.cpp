// The loops over arrays of bf16. Compiled for vector units by options of its own (CMakeLists.txt).
#include "lshdp/core/bf16.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace lshdp {

void round_to_bf16(const float* __restrict__ from, Bf16* __restrict__ to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = rounded_to_bf16(from[i]);
}

void widen_bf16(const void* from, void* to, std::int64_t count) {
  const auto* narrow = static_cast<const std::byte*>(from);
  auto* wide = static_cast<std::byte*>(to);
  // The copies make the overlap harmless: when element i is written, all that is still unread lies behind it.
  constexpr std::int64_t kBlock = 64;
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    Bf16 read[kBlock] = {};
    float write[kBlock];
    const auto length = static_cast<std::size_t>(std::min(kBlock, count - begin));
    std::memcpy(read, narrow + 2 * begin, 2 * length);
    for (std::int64_t i = 0; i < kBlock; ++i) write[i] = widened(read[i]);
    std::memcpy(wide + 4 * begin, write, 4 * length);
  }
}

void add_bf16(float* __restrict__ into, const Bf16* __restrict__ from, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) into[i] += widened(from[i]);
}

void round_difference_to_bf16(const float* __restrict__ a, const float* __restrict__ b, Bf16* __restrict__ to,
                              std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = rounded_to_bf16(a[i] - b[i]);
}

}  // namespace lshdp
