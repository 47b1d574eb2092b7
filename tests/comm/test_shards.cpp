// Shards: equal ones, and the scratch memory of a ring.
#include <algorithm>
#include <stdexcept>

#include <gtest/gtest.h>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {
namespace {

TEST(EqualShards, CoverTheVectorAndDifferByAtMostTheAlignment) {
  for (const std::int64_t count : {0, 1, 2, 3, 7, 16, 17, 31, 1000, 1009})
    for (const int ranks : {1, 2, 3, 4, 7, 16})
      for (const std::int64_t alignment : {1, 2, 8, 16, 64}) {
        const Shards shards = equal_shards(count, ranks, alignment);
        ASSERT_EQ(shards.bounds.size(), static_cast<std::size_t>(ranks) + 1);
        EXPECT_EQ(shards.bounds.front(), 0);
        EXPECT_EQ(shards.bounds.back(), count);
        std::int64_t smallest = count, largest = 0;
        for (int rank = 0; rank < ranks; ++rank) {
          EXPECT_TRUE(shards.begin(rank) % alignment == 0 || shards.begin(rank) == count);
          smallest = std::min(smallest, shards.count(rank));
          largest = std::max(largest, shards.count(rank));
        }
        EXPECT_GE(smallest, 0);
        EXPECT_LE(largest - smallest, alignment) << count << " over " << ranks << " aligned " << alignment;
      }
}

TEST(EqualShards, OfMoreThanTwoToThe31Elements) {
  const std::int64_t count = (std::int64_t{1} << 33) + 5;
  const Shards shards = equal_shards(count, 3, 16);
  EXPECT_EQ(shards.bounds.back(), count);
  EXPECT_GT(shards.count(0), std::int64_t{1} << 31);
  EXPECT_EQ(shards.begin(1) % 16, 0);
}

TEST(EqualShards, RefuseWhatCannotBeCut) {
  EXPECT_THROW(equal_shards(-1, 2), std::invalid_argument);
  EXPECT_THROW(equal_shards(4, 0), std::invalid_argument);
  EXPECT_THROW(equal_shards(4, 2, 0), std::invalid_argument);
}

TEST(ScratchBytes, AreTheOwnShardFromEveryOtherRank) {
  const Shards shards{{0, 10, 10, 13}};
  EXPECT_EQ(scratch_bytes(shards, DataType::float32, 0), 2u * 10 * 4);
  EXPECT_EQ(scratch_bytes(shards, DataType::float32, 1), 0u);
  EXPECT_EQ(scratch_bytes(shards, DataType::float64, 2), 2u * 3 * 8);
  EXPECT_EQ(scratch_bytes(shards, DataType::float32, 2, Wire::bf16), 2u * 3 * 2);
  EXPECT_EQ(scratch_bytes(Shards{{0, 10}}, DataType::float32, 0), 0u);
  EXPECT_THROW(scratch_bytes(shards, DataType::float32, 3), std::invalid_argument);
}

TEST(SizeOf, IsBytesOfOneElement) {
  EXPECT_EQ(size_of(DataType::byte), 1u);
  EXPECT_EQ(size_of(DataType::bfloat16), 2u);
  EXPECT_EQ(size_of(DataType::float32), 4u);
  EXPECT_EQ(size_of(DataType::float64), 8u);
}

}  // namespace
}  // namespace lshdp::comm
