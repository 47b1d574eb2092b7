// bf16 (the upper half of an fp32) as bits: rounding, widening, and loops over arrays of them.
#pragma once
#include <bit>
#include <cstdint>

namespace lshdp {

using Bf16 = std::uint16_t;

/// Exact.
inline float widened(Bf16 value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16); }

/// The nearest bf16, ties to even; NaN stays NaN.
inline Bf16 rounded_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const std::uint32_t quiet_nan = bits >> 16 | 0x40;
  return static_cast<Bf16>((bits & 0x7fffffff) > 0x7f800000 ? quiet_nan : nearest);
}

/// Each of `count` elements. Arrays do not overlap, except where it says so.
void round_to_bf16(const float* from, Bf16* to, std::int64_t count);
/// `from` may be the second half of the memory of `to`.
void widen_bf16(const void* from, void* to, std::int64_t count);
/// into[i] += from[i]
void add_bf16(float* into, const Bf16* from, std::int64_t count);
/// to[i] = a[i] - b[i], rounded.
void round_difference_to_bf16(const float* a, const float* b, Bf16* to, std::int64_t count);

}  // namespace lshdp
