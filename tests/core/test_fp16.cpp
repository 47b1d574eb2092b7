// fp16: rounding as IEEE 754 wants it, for every kind of number.
#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "lshdp/core/fp16.h"

namespace lshdp {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// What the bits say.
float value_of(Fp16 number) {
  const int exponent = number.bits >> 10 & 0x1f, mantissa = number.bits & 0x3ff;
  const float sign = (number.bits & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) return mantissa == 0 ? sign * kInfinity : std::numeric_limits<float>::quiet_NaN();
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
}

float through_fp16(float value) { return value_of(rounded_to_fp16(value)); }

TEST(Fp16, KeepsEveryNumberThatItHas) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Fp16 number{static_cast<std::uint16_t>(bits)};
    const float value = value_of(number);
    if (std::isnan(value)) continue;
    ASSERT_EQ(rounded_to_fp16(value).bits, bits) << value;
  }
}

TEST(Fp16, RoundsToTheNearestAndTiesToEvenBetweenAllNeighbours) {
  for (std::uint16_t bits = 0; bits < 0x7bff; ++bits) {
    const Fp16 below{bits}, above{static_cast<std::uint16_t>(bits + 1)};
    const float middle = (value_of(below) + value_of(above)) / 2;  // exact in fp32
    ASSERT_EQ(rounded_to_fp16(middle).bits, bits % 2 == 0 ? below.bits : above.bits) << middle;
    ASSERT_EQ(rounded_to_fp16(std::nextafter(middle, 0.0F)).bits, below.bits) << middle;
    ASSERT_EQ(rounded_to_fp16(-std::nextafter(middle, kInfinity)).bits, above.bits | 0x8000) << middle;
  }
}

TEST(Fp16, OverflowsFromHalfASpacingBeyondItsLargestNumber) {
  EXPECT_EQ(through_fp16(65504), 65504);
  EXPECT_EQ(through_fp16(65519.99F), 65504);
  EXPECT_EQ(through_fp16(65520), kInfinity);
  EXPECT_EQ(through_fp16(-std::numeric_limits<float>::max()), -kInfinity);
  EXPECT_EQ(through_fp16(kInfinity), kInfinity);
}

TEST(Fp16, UnderflowsToZeroOfTheSameSign) {
  EXPECT_EQ(rounded_to_fp16(std::ldexp(1.0F, -25)).bits, 0);  // a tie
  EXPECT_EQ(through_fp16(std::nextafter(std::ldexp(1.0F, -25), 1.0F)), std::ldexp(1.0F, -24));
  EXPECT_EQ(rounded_to_fp16(-std::numeric_limits<float>::denorm_min()).bits, 0x8000);
}

TEST(Fp16, StaysNotANumber) {
  EXPECT_TRUE(std::isnan(through_fp16(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(through_fp16(std::bit_cast<float>(0x7f800001U))));
}

}  // namespace
}  // namespace lshdp
