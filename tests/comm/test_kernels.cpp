// Sums of vectors of any length.
#include <vector>

#include <gtest/gtest.h>

#include "kernels.h"

namespace lshdp::comm {
namespace {

TEST(Sums, AreElementwiseForAnyLength) {
  for (const std::int64_t count : {0, 1, 63, 64, 65, 1000}) {
    std::vector<float> floats(static_cast<std::size_t>(count), 1.0F), more(floats.size(), 2.0F);
    std::vector<double> doubles(floats.size(), 1.0), more_doubles(floats.size(), 0.5);
    add_elements(DataType::float32, floats.data(), more.data(), count);
    add_elements(DataType::float64, doubles.data(), more_doubles.data(), count);
    EXPECT_EQ(floats, std::vector<float>(floats.size(), 3.0F));
    EXPECT_EQ(doubles, std::vector<double>(doubles.size(), 1.5));
  }
}

}  // namespace
}  // namespace lshdp::comm
