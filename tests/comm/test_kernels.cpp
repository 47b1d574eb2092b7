// Loops over elements: sums, and rounding to bf16 as IEEE 754 wants it.
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "kernels.h"

namespace lshdp::comm {
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

TEST(Sums, AreElementwiseForAnyLength) {
  for (const std::int64_t count : {0, 1, 63, 64, 65, 1000}) {
    std::vector<float> floats(static_cast<std::size_t>(count), 1.0F), more(floats.size(), 2.0F);
    std::vector<double> doubles(floats.size(), 1.0), more_doubles(floats.size(), 0.5);
    std::vector<std::uint16_t> narrow(floats.size());
    round_to_bf16(more.data(), narrow.data(), count);
    add_elements(DataType::float32, floats.data(), more.data(), count);
    add_bf16(floats.data(), narrow.data(), count);
    add_elements(DataType::float64, doubles.data(), more_doubles.data(), count);
    EXPECT_EQ(floats, std::vector<float>(floats.size(), 5.0F));
    EXPECT_EQ(doubles, std::vector<double>(doubles.size(), 1.5));
  }
}

}  // namespace
}  // namespace lshdp::comm
