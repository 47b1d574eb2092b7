// bf16: rounding as IEEE 754 wants it, for any length.
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "lshdp/core/bf16.h"

namespace lshdp {
namespace {

float through_bf16(float value) {
  std::uint16_t narrow = 0;
  float wide = 0;
  round_to_bf16(&value, &narrow, 1);
  widen_bf16(&narrow, &wide, 1);
  return wide;
}

TEST(Bf16, RoundsToTheNearestAndTiesToEven) {
  EXPECT_EQ(through_bf16(1.0F), 1.0F);
  EXPECT_EQ(through_bf16(-2.5F), -2.5F);
  EXPECT_EQ(through_bf16(1.0F + 1.0F / 256), 1.0F);               // a tie, down to even
  EXPECT_EQ(through_bf16(1.0F + 3.0F / 256), 1.0F + 4.0F / 256);  // a tie, up to even
  EXPECT_EQ(through_bf16(1.0F + 1.1F / 256), 1.0F + 2.0F / 256);  // above the tie
  EXPECT_EQ(through_bf16(std::numeric_limits<float>::max()), std::numeric_limits<float>::infinity());
  EXPECT_EQ(through_bf16(-std::numeric_limits<float>::infinity()), -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(through_bf16(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(through_bf16(std::bit_cast<float>(0x7f800001U))));
}

TEST(Bf16, WidensInPlaceFromTheSecondHalf) {
  for (const std::int64_t count : {1, 2, 63, 64, 65, 200}) {
    std::vector<float> data(static_cast<std::size_t>(count));
    std::vector<std::uint16_t> narrow(data.size());
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<float>(i);
    round_to_bf16(data.data(), narrow.data(), count);
    const auto expected = data;
    auto* second_half = reinterpret_cast<std::byte*>(data.data()) + 2 * count;
    std::copy_n(reinterpret_cast<const std::byte*>(narrow.data()), 2 * count, second_half);
    widen_bf16(second_half, data.data(), count);
    EXPECT_EQ(data, expected);
  }
}

TEST(Bf16, AddsAndTakesDifferencesForAnyLength) {
  for (const std::int64_t count : {0, 1, 63, 64, 65, 1000}) {
    std::vector<float> now(static_cast<std::size_t>(count)), before(now.size(), 1.0F);
    for (std::size_t i = 0; i < now.size(); ++i) now[i] = 1.0F + static_cast<float>(i % 200) / 512;
    std::vector<Bf16> change(now.size());
    round_difference_to_bf16(now.data(), before.data(), change.data(), count);
    add_bf16(before.data(), change.data(), count);
    EXPECT_EQ(before, now);  // such differences have eight bits
  }
}

}  // namespace
}  // namespace lshdp
