// Tests of the layout of parameters in flat arenas.
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "layout/arena.h"
#include "lshdp/core/error.h"
#include "models.h"

namespace lshdp::parallel {
namespace {

TEST(Buckets, HoldEveryParameterOnceWithoutOverlap) {
  for (const std::int64_t least : {std::int64_t{0}, std::int64_t{2000}, std::int64_t{1} << 40}) {
    const model::Model model = test::small_gpt();
    std::set<std::pair<std::size_t, std::size_t>> seen;
    for (const Bucket& bucket : make_buckets(model, least)) {
      std::int64_t end = 0;
      for (const Slot& slot : bucket.slots) {
        EXPECT_GE(slot.offset, end);
        EXPECT_EQ(slot.offset % kAlignment, 0);
        end = slot.offset + slot.count;
        EXPECT_TRUE(seen.emplace(slot.block, slot.parameter).second);
      }
      EXPECT_LE(end, bucket.count);
    }
    std::size_t parameters = 0;
    for (const auto& block : model.blocks) parameters += block->parameters().size();
    EXPECT_EQ(seen.size(), parameters);
  }
}

TEST(Buckets, CoverConsecutiveBlocksInOrder) {
  const model::Model model = test::small_vit();
  const std::vector<Bucket> buckets = make_buckets(model, 2000);
  EXPECT_GT(buckets.size(), 1U);
  EXPECT_LT(buckets.size(), model.blocks.size());
  std::size_t next = 0;
  for (const Bucket& bucket : buckets) {
    EXPECT_EQ(bucket.first_block, next);
    next = bucket.last_block + 1;
  }
  EXPECT_EQ(next, model.blocks.size());
}

TEST(Buckets, SetABorrowedTableApartAndLast) {
  const model::Model model = test::small_gpt();
  const std::int64_t table = 23 * 16;
  for (const std::int64_t min_table : {table, table + 1}) {
    const std::vector<Bucket> buckets = make_buckets(model, 300, min_table);
    const bool apart = min_table == table;
    for (const Bucket& bucket : buckets) EXPECT_EQ(bucket.table, apart && &bucket == &buckets.back());
    std::int64_t elements = 0;
    for (const Bucket& bucket : buckets) {
      for (const Slot& slot : bucket.slots) elements += slot.count;
    }
    EXPECT_EQ(elements, model.parameter_count());
    EXPECT_EQ(buckets[apart ? buckets.size() - 2 : buckets.size() - 1].last_block, model.blocks.size() - 1);
    if (!apart) continue;
    ASSERT_EQ(buckets.back().slots.size(), 1U);
    EXPECT_EQ(buckets.back().slots.front().block, 0U);
    EXPECT_EQ(buckets.back().slots.front().count, table);
    EXPECT_EQ(buckets.back().first_block, model.blocks.size() - 1);
    ASSERT_EQ(buckets.back().runs.size(), 1U);
    EXPECT_EQ(buckets.back().runs.front().end, buckets.back().count);
  }
  for (const Bucket& bucket : make_buckets(test::small_vit(), 0, 0)) EXPECT_FALSE(bucket.table);
}

TEST(Buckets, PutParametersWithDecayFirst) {
  const model::Model model = test::small_vit();
  for (const Bucket& bucket : make_buckets(model, 0)) {
    for (const Slot& slot : bucket.slots) {
      const bool decay = model.blocks[slot.block]->parameters()[slot.parameter].decay;
      EXPECT_EQ(decay, slot.offset < bucket.runs.front().end && bucket.runs.front().decay);
    }
  }
}

TEST(MakeShards, AreInProportionToWeightsAndMaybeEmpty) {
  const comm::Shards shards = make_shards(600 * kAlignment + 5, 4, std::vector<std::int64_t>{1, 3, 0, 2});
  EXPECT_EQ(shards.bounds.back(), 600 * kAlignment + 5);
  EXPECT_EQ(shards.count(0), 100 * kAlignment);
  EXPECT_NEAR(static_cast<double>(shards.count(1)), 300 * kAlignment, kAlignment);
  EXPECT_EQ(shards.count(2), 0);
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(shards.end(rank) % kAlignment, 0);
  EXPECT_EQ(make_shards(100, 2, {}).bounds, comm::equal_shards(100, 2, kAlignment).bounds);
}

TEST(MakeShards, RefuseWeightsThatMakeNoSense) {
  for (const std::vector<std::int64_t>& weights : {std::vector<std::int64_t>{1, 2, 3}, {0, 0}, {1, -1}})
    EXPECT_THROW(make_shards(100, 2, weights), UsageError);
}

}  // namespace
}  // namespace lshdp::parallel
