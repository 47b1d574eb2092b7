// fp16 (IEEE 754 binary16) as bits: rounding from fp32, in operations that a compiler turns into vector instructions.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>

namespace lshdp {

/// A type of its own, because bf16 has as many bits.
struct Fp16 {
  std::uint16_t bits = 0;
};

/// The nearest fp16, ties to even; from 65520 on infinity; NaN stays NaN.
inline Fp16 rounded_to_fp16(float value) {
  constexpr std::uint32_t smallest_normal = 0x38800000;  // 2^-14
  constexpr std::uint32_t infinity = 0x7c00, quiet_nan = 0x7e00;
  constexpr std::uint32_t other_bias = (127 - 15) << 10;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t size = bits & 0x7fffffff;
  const std::uint32_t normal = ((size + 0xfff + (size >> 13 & 1)) >> 13) - other_bias;
  // The spacing of floats from 1/2 on is that of fp16 below its normal numbers, 2^-24: the sum rounds as wanted.
  const std::uint32_t subnormal =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(size) + 0.5F) - std::bit_cast<std::uint32_t>(0.5F);
  const std::uint32_t finite = size < smallest_normal ? subnormal : std::min(normal, infinity);
  const std::uint32_t rounded = size > 0x7f800000 ? quiet_nan : finite;
  return {static_cast<std::uint16_t>(rounded | (bits >> 16 & 0x8000))};
}

}  // namespace lshdp
