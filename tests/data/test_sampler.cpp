// The sampler: a bijection, every sample once per epoch, and global batches that do not depend on the split.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/data/sampler.h"

namespace lshdp::data {
namespace {

using Numbers = std::vector<std::int64_t>;
using testing::ElementsAre;

Numbers permuted(std::int64_t size, std::uint64_t seed, std::int64_t epoch) {
  const KeyedPermutation order(size, seed, epoch);
  Numbers result;
  for (std::int64_t i = 0; i < size; ++i) result.push_back(order(i));
  return result;
}

Numbers sorted(Numbers numbers) {
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Numbers first_numbers(std::int64_t count) {
  Numbers result(static_cast<std::size_t>(count));
  std::iota(result.begin(), result.end(), std::int64_t{0});
  return result;
}

/// A random split of `total` over `ranks`; some ranks may get nothing.
Numbers random_split(std::int64_t total, int ranks, std::mt19937& random) {
  Numbers cuts{0, total};
  for (int i = 1; i < ranks; ++i) cuts.push_back(std::uniform_int_distribution<std::int64_t>(0, total)(random));
  std::sort(cuts.begin(), cuts.end());
  Numbers split;
  for (std::size_t i = 1; i < cuts.size(); ++i) split.push_back(cuts[i] - cuts[i - 1]);
  return split;
}

/// The samples of all ranks at `step`, in the order of ranks.
Numbers global_batch(const HeterogeneousDistributedSampler& sampler, std::int64_t step, std::size_t ranks) {
  Numbers samples;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const Numbers own = sampler.samples_of(step, static_cast<int>(rank));
    samples.insert(samples.end(), own.begin(), own.end());
  }
  return samples;
}

TEST(KeyedPermutation, IsABijectionForEverySizeUpTo2000) {
  for (std::int64_t size = 1; size <= 2000; ++size) {
    ASSERT_EQ(sorted(permuted(size, 7, size % 5)), first_numbers(size)) << "size " << size;
  }
}

TEST(KeyedPermutation, StaysInRangeAndOneToOneForHugeSizes) {
  std::mt19937_64 random(1);
  for (const std::int64_t size : {std::int64_t{1} << 31, (std::int64_t{1} << 40) + 1, (std::int64_t{1} << 62) - 3,
                                  std::numeric_limits<std::int64_t>::max()}) {
    const KeyedPermutation order(size, 3, 1);
    std::set<std::int64_t> positions, images;
    for (int i = 0; i < 20000; ++i) {
      positions.insert(i < 1000 ? i : std::uniform_int_distribution<std::int64_t>(0, size - 1)(random));
    }
    for (const std::int64_t position : positions) {
      const std::int64_t image = order(position);
      ASSERT_GE(image, 0);
      ASSERT_LT(image, size);
      images.insert(image);
    }
    EXPECT_EQ(images.size(), positions.size());
  }
}

TEST(KeyedPermutation, DependsOnSeedAndEpochAlone) {
  EXPECT_EQ(permuted(1000, 5, 2), permuted(1000, 5, 2));
  EXPECT_NE(permuted(1000, 5, 2), permuted(1000, 5, 3));
  EXPECT_NE(permuted(1000, 5, 2), permuted(1000, 6, 2));
}

TEST(KeyedPermutation, SpreadsEveryPositionOverTheWholeRange) {
  // Over many epochs position p meets each of 16 samples equally often: chi-square with 15 degrees of freedom below 50.
  constexpr int epochs = 16000;
  for (const std::int64_t position : {0, 1, 7, 15}) {
    std::vector<double> counts(16);
    for (int epoch = 0; epoch < epochs; ++epoch)
      ++counts[static_cast<std::size_t>(KeyedPermutation(16, 1, epoch)(position))];
    double chi = 0;
    for (const double count : counts) chi += std::pow(count - epochs / 16.0, 2) / (epochs / 16.0);
    EXPECT_LT(chi, 50) << "position " << position;
  }
}

TEST(KeyedPermutation, ShufflesNeighboursApart) {
  const Numbers order = permuted(60000, 0, 0);
  double distance = 0;
  for (std::size_t i = 1; i < order.size(); ++i) distance += static_cast<double>(std::abs(order[i] - order[i - 1]));
  // The mean distance of two random samples is a third of the range.
  EXPECT_NEAR(distance / 59999 / 60000, 1.0 / 3, 0.01);
}

TEST(KeyedPermutation, RefusesAnEmptyRange) { EXPECT_THROW(KeyedPermutation(0, 0, 0), UsageError); }

TEST(Split, GivesTheWeightsThemselvesForTheirSum) {
  EXPECT_THAT(split_in_proportion(32, Numbers{7, 2, 23}), ElementsAre(7, 2, 23));
}

TEST(Split, UsesLargestRemaindersLowestRankFirst) {
  EXPECT_THAT(split_in_proportion(2, Numbers{1, 1, 1}), ElementsAre(1, 1, 0));
  EXPECT_THAT(split_in_proportion(10, Numbers{7, 2, 23}), ElementsAre(2, 1, 7));  // 2.19, 0.63, 7.19
  EXPECT_THAT(split_in_proportion(5, Numbers{3, 0, 3}), ElementsAre(3, 0, 2));
}

TEST(Split, IsExactAndNeverExceedsAWeight) {
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) {
    const std::int64_t total = 1 + static_cast<std::int64_t>(random() % 500);
    const Numbers weights = random_split(total, 1 + static_cast<int>(random() % 9), random);
    const std::int64_t count = static_cast<std::int64_t>(random() % static_cast<unsigned>(total + 1));
    const Numbers parts = split_in_proportion(count, weights);
    ASSERT_EQ(std::accumulate(parts.begin(), parts.end(), std::int64_t{0}), count);
    for (std::size_t r = 0; r < parts.size(); ++r) ASSERT_LE(parts[r], weights[r]);
  }
}

TEST(Split, SurvivesLargeNumbers) {
  const std::int64_t large = std::int64_t{1} << 60;
  EXPECT_THAT(split_in_proportion(large, Numbers{large, large}), ElementsAre(large / 2, large / 2));
}

TEST(Split, RefusesNegativeAndAbsentWeights) {
  EXPECT_THROW(split_in_proportion(3, Numbers{2, -1}), UsageError);
  EXPECT_THROW(split_in_proportion(3, Numbers{0, 0}), UsageError);
  EXPECT_THROW(split_in_proportion(-1, Numbers{1}), UsageError);
}

TEST(Sampler, VisitsEverySampleOncePerEpochForRandomSplitsRebalancedAtRandomSteps) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 300; ++trial) {
    const std::int64_t size = 1 + static_cast<std::int64_t>(random() % 700);
    const std::int64_t total = 1 + static_cast<std::int64_t>(random() % static_cast<unsigned>(size));
    const int ranks = 1 + static_cast<int>(random() % 6);
    HeterogeneousDistributedSampler sampler(size, random_split(total, ranks, random), random());
    const std::int64_t epoch = static_cast<std::int64_t>(random() % 3);
    Numbers seen;
    for (std::int64_t s = 0; s < sampler.steps_per_epoch(); ++s) {
      if (random() % 3 == 0) sampler.set_batches(random_split(total, ranks, random));
      const Numbers batch =
          global_batch(sampler, epoch * sampler.steps_per_epoch() + s, static_cast<std::size_t>(ranks));
      ASSERT_EQ(static_cast<std::int64_t>(batch.size()), sampler.global_count(s));
      seen.insert(seen.end(), batch.begin(), batch.end());
    }
    ASSERT_EQ(sorted(seen), first_numbers(size)) << "size " << size << " total " << total;
  }
}

TEST(Sampler, GlobalBatchesDoNotDependOnTheSplit) {
  std::mt19937 random(4);
  const HeterogeneousDistributedSampler one(331, {32}, 9);
  for (int trial = 0; trial < 20; ++trial) {
    const std::size_t ranks = 1 + random() % 5;
    const HeterogeneousDistributedSampler many(331, random_split(32, static_cast<int>(ranks), random), 9);
    for (std::int64_t step = 0; step < 25; ++step) ASSERT_EQ(global_batch(many, step, ranks), one.samples_of(step, 0));
  }
}

TEST(Sampler, SlicesOfRanksTileTheStepExactly) {
  const HeterogeneousDistributedSampler sampler(100, {7, 0, 2, 23}, 0);
  EXPECT_EQ(sampler.steps_per_epoch(), 4);
  for (std::int64_t step = 0; step < 8; ++step) {
    std::int64_t at = step % 4 * 32;
    for (int rank = 0; rank < 4; ++rank) {
      const Range slice = sampler.slice_of(step, rank);
      EXPECT_EQ(slice.begin, at);
      at = slice.end;
    }
    EXPECT_EQ(at, std::min<std::int64_t>(100, (step % 4 + 1) * 32));
  }
  EXPECT_EQ(sampler.global_count(3), 4);
}

TEST(Sampler, ResumesFromAStepNumberOnAnotherNumberOfRanks) {
  const HeterogeneousDistributedSampler before(1000, {10, 20, 30}, 5), after(1000, {45, 15}, 5);
  for (std::int64_t step = 0; step < 40; ++step) EXPECT_EQ(global_batch(before, step, 3), global_batch(after, step, 2));
}

TEST(Sampler, EpochsDifferAndSetEpochRestartsTheirOrder) {
  HeterogeneousDistributedSampler sampler(64, {16, 16}, 1);
  EXPECT_EQ(sampler.epoch_of(3), 1);
  const Numbers third = sampler.samples_of(4, 0);
  EXPECT_NE(sampler.samples_of(0, 0), third);
  sampler.set_epoch(2);
  EXPECT_EQ(sampler.samples_of(0, 0), third);
  EXPECT_EQ(sampler.epoch_of(0), 2);
  EXPECT_EQ(sampler.epoch_of(2), 3);
}

TEST(Sampler, RefusesBatchesThatCannotBe) {
  EXPECT_THROW(HeterogeneousDistributedSampler(0, {1}, 0), UsageError);
  EXPECT_THROW(HeterogeneousDistributedSampler(10, {4, -1}, 0), UsageError);
  EXPECT_THROW(HeterogeneousDistributedSampler(10, {0, 0}, 0), UsageError);
  EXPECT_THROW(HeterogeneousDistributedSampler(10, {}, 0), UsageError);
  EXPECT_THROW(HeterogeneousDistributedSampler(10, {6, 5}, 0), UsageError);
  EXPECT_NO_THROW(HeterogeneousDistributedSampler(10, {6, 4}, 0));
  EXPECT_THROW(HeterogeneousDistributedSampler(10, {std::numeric_limits<std::int64_t>::max(), 5}, 0), UsageError);
}

TEST(Sampler, RefusesAnotherTotalAndARankWithoutABatch) {
  HeterogeneousDistributedSampler sampler(10, {3, 3}, 0);
  EXPECT_THROW(sampler.set_batches({3, 4}), UsageError);
  EXPECT_THROW(sampler.slice_of(0, 2), UsageError);
  sampler.set_batches({1, 5});
  EXPECT_EQ(sampler.slice_of(0, 1).count(), 5);
}

TEST(Sampler, DrawsTheSamePlacesForEverySplitAndRestart) {
  HeterogeneousDistributedSampler alone(100, {10}, 3), split(100, {7, 0, 1, 2}, 3), other(100, {10}, 4);
  for (HeterogeneousDistributedSampler* sampler : {&alone, &split, &other}) sampler->draw_from(1'000'003);
  for (std::int64_t step = 0; step < 25; ++step) {
    EXPECT_EQ(global_batch(split, step, 4), global_batch(alone, step, 1));
    EXPECT_NE(global_batch(other, step, 1), global_batch(alone, step, 1));
  }
  split.set_batches({1, 1, 1, 7});
  EXPECT_EQ(global_batch(split, 13, 4), global_batch(alone, 13, 1));
  EXPECT_NE(global_batch(alone, 3, 1), global_batch(alone, 13, 1));  // the same positions of another epoch
  EXPECT_THROW(alone.draw_from(0), UsageError);
}

TEST(Sampler, DrawsPlacesUniformly) {
  constexpr std::int64_t places = 1000, bins = 20, draws = 200'000;
  HeterogeneousDistributedSampler sampler(draws, {draws}, 11);
  sampler.draw_from(places);
  Numbers counts(bins);
  std::set<std::int64_t> seen;
  for (const std::int64_t place : sampler.samples_of(0, 0)) {
    ASSERT_TRUE(place >= 0 && place < places);
    ++counts[static_cast<std::size_t>(place * bins / places)];
    seen.insert(place);
  }
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(places));  // first and last too
  double chi_squared = 0;
  for (const std::int64_t count : counts) chi_squared += std::pow(static_cast<double>(count) - 1e4, 2) / 1e4;
  EXPECT_LT(chi_squared, 43.8);  // 19 degrees of freedom: one seed in a thousand is above
}

}  // namespace
}  // namespace lshdp::data
