// The search finds exactly what trying every batch would find, with few tries.
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "lshdp/measure/batch_search.h"

namespace lshdp::measure {
namespace {

/// A rank whose batch b peaks at peak(b) bytes and takes b milliseconds.
struct FakeRank {
  std::int64_t budget;
  std::function<std::int64_t(std::int64_t)> peak;
  std::set<std::int64_t> tried = {};
  bool tried_twice = false;

  Attempt attempt(std::int64_t batch) {
    tried_twice = tried_twice || !tried.insert(batch).second;
    const bool fits = peak(batch) <= budget;
    return {.fits = fits, .peak_bytes = fits ? peak(batch) : 0, .seconds = static_cast<double>(batch) * 1e-3};
  }
  SearchResult search(std::int64_t largest, double max_seconds = 1e9) {
    return search_largest_batch([this](std::int64_t batch) { return attempt(batch); }, {budget, largest, max_seconds});
  }
  std::int64_t largest_by_trying_all(std::int64_t largest) const {
    std::int64_t batch = 0;
    while (batch < largest && peak(batch + 1) <= budget) ++batch;
    return batch;
  }
};

TEST(SearchLargestBatch, FindsTheLastBatchThatFitsAndSeesTheNextOneFail) {
  FakeRank rank{10'000, [](std::int64_t b) { return 1'000 + 70 * b; }};
  const SearchResult result = rank.search(4096);
  EXPECT_EQ(result.largest, 128);
  EXPECT_EQ(result.peak_bytes, 9'960);
  EXPECT_EQ(result.limited_by, LimitedBy::memory);
  EXPECT_TRUE(rank.tried.contains(129));
  EXPECT_LE(result.attempts, 6) << "a straight line needs no bisection";
}

TEST(SearchLargestBatch, SaysThatNotEvenOneSampleFitsAfterOneTry) {
  FakeRank rank{10, [](std::int64_t b) { return 1'000 + b; }};
  const SearchResult result = rank.search(4096);
  EXPECT_EQ(result.largest, 0);
  EXPECT_EQ(result.attempts, 1);
  EXPECT_EQ(result.limited_by, LimitedBy::memory);
}

TEST(SearchLargestBatch, StopsAtTheLargestAllowed) {
  FakeRank rank{1 << 30, [](std::int64_t b) { return b; }};
  const SearchResult result = rank.search(100);
  EXPECT_EQ(result.largest, 100);
  EXPECT_EQ(result.limited_by, LimitedBy::largest);
  EXPECT_EQ(*rank.tried.rbegin(), 100);
  EXPECT_EQ(rank.search(1).largest, 1);
}

TEST(SearchLargestBatch, NeverTriesWhatIsExpectedToTakeTooLong) {
  FakeRank rank{1 << 30, [](std::int64_t b) { return b; }};
  const SearchResult result = rank.search(4096, 0.5);
  EXPECT_EQ(result.limited_by, LimitedBy::time);
  EXPECT_GE(result.largest, 250);
  EXPECT_LE(*rank.tried.rbegin(), 500);
}

TEST(SearchLargestBatch, IsExactWhenMemoryEndsBeforeTheTime) {
  FakeRank rank{300, [](std::int64_t b) { return b; }};
  const SearchResult result = rank.search(4096, 0.5);
  EXPECT_EQ(result.largest, 300);
  EXPECT_EQ(result.limited_by, LimitedBy::memory);
}

TEST(SearchLargestBatch, TriesASecondBatchWhateverItTakes) {
  FakeRank rank{1 << 30, [](std::int64_t b) { return 1000 * b; }};
  const SearchResult result = rank.search(4096, 1e-6);
  EXPECT_EQ(result.limited_by, LimitedBy::time);
  EXPECT_EQ(result.largest, 2);
  ASSERT_EQ(result.peaks.size(), 2U);
  EXPECT_EQ(result.peaks[1].bytes, 2000);
}

TEST(SearchLargestBatch, EndsWhereItsTimeIsOver) {
  FakeRank rank{10'000, [](std::int64_t b) { return b; }};
  int tries = 0;
  const SearchLimits limits{.budget_bytes = 10'000, .largest = 1 << 20, .total_seconds = 10};
  const SearchResult result = search_largest_batch(
      [&](std::int64_t batch) {
        ++tries;
        Attempt outcome = rank.attempt(batch);
        outcome.wall_seconds = 4;
        return outcome;
      },
      limits);
  EXPECT_EQ(tries, 3);
  EXPECT_EQ(result.limited_by, LimitedBy::time);
}

/// What is estimated after these peaks.
Peak estimate(std::vector<Peak> peaks, const SearchLimits& limits, std::int64_t fails = 0) {
  return estimate_largest({.largest = peaks.back().batch,
                           .peak_bytes = peaks.back().bytes,
                           .limited_by = LimitedBy::time,
                           .peaks = std::move(peaks),
                           .fails = fails},
                          limits);
}

TEST(EstimateLargest, GoesOnWithTheSteepestSlopeAndATenthMore) {
  // 200 bytes a sample at the steepest, 220 with the margin.
  const Peak largest =
      estimate({{1, 1'000}, {2, 1'200}, {4, 1'200}}, {.budget_bytes = 1'210 + 20 * 220, .largest = 4096});
  EXPECT_EQ(largest.batch, 4 + 20);
  EXPECT_EQ(largest.bytes, 1'200 + 20 * 220);
}

TEST(EstimateLargest, StaysBelowWhatFailedWhatIsWantedAndSixteenTimesWhatWasTried) {
  const std::vector<Peak> peaks{{1, 1'000}, {2, 1'001}};
  const SearchLimits plenty{.budget_bytes = 1 << 30, .largest = 4096};
  EXPECT_EQ(estimate(peaks, plenty).batch, 32);
  EXPECT_EQ(estimate(peaks, {.budget_bytes = 1 << 30, .largest = 20}).batch, 20);
  EXPECT_EQ(estimate(peaks, plenty, 9).batch, 8);
}

TEST(EstimateLargest, IsWhatWasTriedWherePeaksDoNotGrow) {
  EXPECT_EQ(estimate({{1, 1'000}, {2, 1'000}}, {.budget_bytes = 1 << 30, .largest = 4096}).batch, 2);
  EXPECT_EQ(estimate({{1, 1'000}}, {.budget_bytes = 1 << 30, .largest = 4096}).batch, 1);
}

TEST(EstimateLargest, NeverGoesBeyondTheBudgetWherePeaksAreOnLines) {
  std::mt19937_64 random(11);
  const auto draw = [&](std::int64_t from, std::int64_t to) { return std::uniform_int_distribution(from, to)(random); };
  for (int i = 0; i < 500; ++i) {
    const std::int64_t a = draw(0, 5'000), b = draw(1, 300);
    FakeRank rank{draw(6'000, 60'000), [=](std::int64_t batch) { return a + b * batch; }};
    const SearchLimits limits{.budget_bytes = rank.budget, .largest = 700, .max_seconds = 0.004};
    const SearchResult found = search_largest_batch([&](std::int64_t batch) { return rank.attempt(batch); }, limits);
    const Peak largest = estimate_largest(found, limits);
    EXPECT_LE(rank.peak(largest.batch), rank.budget) << "case " << i;
    EXPECT_GE(largest.batch, found.largest) << "case " << i;
  }
}

TEST(SearchLargestBatch, EqualsTryingEveryBatchForRandomGrowthOfThePeak) {
  std::mt19937_64 random(7);
  const auto draw = [&](std::int64_t from, std::int64_t to) { return std::uniform_int_distribution(from, to)(random); };
  for (int i = 0; i < 500; ++i) {
    // Several phases, each with its own line, the highest of which is the peak; and steps of an allocator that rounds.
    const std::int64_t a = draw(0, 5'000), b = draw(1, 50), c = draw(0, 200), d = draw(1, 300), round = draw(1, 400);
    FakeRank rank{draw(0, 60'000), [=](std::int64_t batch) {
                    const std::int64_t peak = std::max(a + b * batch, c + d * batch);
                    return (peak + round - 1) / round * round;
                  }};
    const SearchResult result = rank.search(700);
    ASSERT_EQ(result.largest, rank.largest_by_trying_all(700)) << "case " << i;
    EXPECT_LE(result.attempts, 30) << "case " << i;
    EXPECT_FALSE(rank.tried_twice) << "case " << i;
    if (result.largest > 0) {
      EXPECT_EQ(result.peak_bytes, rank.peak(result.largest));
    }
    EXPECT_EQ(result.limited_by, result.largest == 700 ? LimitedBy::largest : LimitedBy::memory);
  }
}

}  // namespace
}  // namespace lshdp::measure
