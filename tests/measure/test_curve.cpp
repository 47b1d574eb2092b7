// The curve keeps its promises on invented ranks whose time is known exactly: no clock is needed.
#include <cmath>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "curve.h"

namespace lshdp::measure {
namespace {

/// A rank that needs seconds(b) for b samples, and how long it was kept busy.
struct FakeRank {
  std::function<double(std::int64_t)> seconds;
  double busy = 0;
  std::set<std::int64_t> measured = {};
  TimeMicroBatches time = [this](std::int64_t batch, int count) {
    measured.insert(batch);
    const double taken = seconds(batch) * count;
    busy += taken;
    return taken;
  };
};

double overhead_and_slope(std::int64_t batch) { return 2e-3 + 1e-3 * static_cast<double>(batch); }

std::set<std::int64_t> batches_of(const std::vector<plan::CurvePoint>& curve) {
  std::set<std::int64_t> batches;
  for (const plan::CurvePoint& point : curve) batches.insert(point.batch);
  return batches;
}

double worst_error(const std::vector<plan::CurvePoint>& curve, const std::function<double(std::int64_t)>& seconds) {
  double worst = 0;
  for (std::int64_t b = 1; b <= curve.back().batch; ++b) {
    worst = std::max(worst, std::abs(interpolate(curve, b) / seconds(b) - 1));
  }
  return worst;
}

TEST(MeasureCurve, BeginsWithOneAndEndsWithTheLargest) {
  FakeRank rank{overhead_and_slope};
  const auto curve = measure_curve(rank.time, {.largest = 100, .whole = true, .budget_seconds = 1000});
  EXPECT_EQ(curve.front().batch, 1);
  EXPECT_EQ(curve.back().batch, 100);
  for (const std::int64_t batch : {2, 4, 8, 16, 32, 64}) EXPECT_TRUE(batches_of(curve).contains(batch)) << batch;
  for (std::size_t i = 1; i < curve.size(); ++i) {
    EXPECT_LT(curve[i - 1].batch, curve[i].batch);
    EXPECT_LT(curve[i - 1].seconds, curve[i].seconds);
  }
  for (const plan::CurvePoint& point : curve) EXPECT_NEAR(point.seconds, overhead_and_slope(point.batch), 1e-12);
}

TEST(MeasureCurve, ALargestBatchOfOneIsACurveOfOnePoint) {
  FakeRank rank{overhead_and_slope};
  const auto curve = measure_curve(rank.time, {.largest = 1});
  ASSERT_EQ(curve.size(), 1U);
  EXPECT_EQ(curve[0].batch, 1);
}

TEST(MeasureCurve, InterpolatesWithinFivePercentWhereTheCurveBends) {
  // Caches that overflow around 150 samples: the doubling points alone are off by far more.
  const auto seconds = [](std::int64_t b) {
    const double x = static_cast<double>(b);
    return 1e-3 * x + 0.15 / (1 + std::exp(-(x - 150) / 15));
  };
  FakeRank rank{seconds};
  const auto curve = measure_curve(rank.time, {.largest = 512, .whole = true, .budget_seconds = 1e6});
  EXPECT_LE(worst_error(curve, seconds), 0.05);
  EXPECT_LT(curve.size(), 60U);
}

TEST(MeasureCurve, AStraightLineNeedsOnePointInEachInterval) {
  FakeRank rank{overhead_and_slope};
  const auto curve = measure_curve(rank.time, {.largest = 64, .whole = true, .budget_seconds = 1000});
  EXPECT_EQ(batches_of(curve), (std::set<std::int64_t>{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64}));
}

TEST(MeasureCurve, HasTheLikelyBatchAndNeighboursWhereThereIsNoTimeForMore) {
  // 0.4 s a sample, 8 s for the likely batch: with all below it there would be no time for it.
  FakeRank rank{[](std::int64_t b) { return 0.1 + 0.4 * static_cast<double>(b); }};
  const auto curve = measure_curve(rank.time, {.largest = 32, .likely = 20, .whole = true, .budget_seconds = 7 * 8.1});
  EXPECT_TRUE(rank.measured.contains(20));
  EXPECT_TRUE(rank.measured.contains(10));
  EXPECT_TRUE(rank.measured.contains(25));
  EXPECT_LE(rank.busy, 1.2 * 7 * 8.1);
  EXPECT_EQ(curve.back().batch, 25);
}

TEST(MeasureCurve, ComesAsNearToTheLikelyBatchAsTimeAllows) {
  FakeRank rank{[](std::int64_t b) { return static_cast<double>(b); }};
  const auto curve = measure_curve(rank.time, {.largest = 64, .likely = 64, .whole = true, .budget_seconds = 100});
  EXPECT_GE(curve.back().batch, 16);
  EXPECT_LE(rank.busy, 120);
}

TEST(MeasureCurve, EndsBelowABatchThatRunsOutOfMemory) {
  FakeRank rank{overhead_and_slope};
  const TimeMicroBatches time = [&](std::int64_t batch, int count) {
    if (batch > 21) throw std::bad_alloc();
    return rank.time(batch, count);
  };
  const auto curve = measure_curve(time, {.largest = 100, .likely = 60, .whole = true, .budget_seconds = 100});
  EXPECT_LE(curve.back().batch, 21);
  EXPECT_GE(curve.back().batch, 16);
}

TEST(MeasureCurve, StopsDoublingWhereLargerBatchesGainNothing) {
  FakeRank rank{[](std::int64_t b) { return 0.05 * static_cast<double>(b); }};
  const auto curve = measure_curve(rank.time, {.largest = 4096, .budget_seconds = 1e6});
  EXPECT_EQ(curve.back().batch, 32);  // 1.6 s: the first beyond one second
  FakeRank wanted{rank.seconds};
  EXPECT_EQ(measure_curve(wanted.time, {.largest = 256, .whole = true, .budget_seconds = 1e6}).back().batch, 256);
}

TEST(MeasureCurve, GoesOnWhereLargerBatchesStillPay) {
  FakeRank rank{[](std::int64_t b) { return 2 + 0.001 * static_cast<double>(b); }};
  EXPECT_EQ(measure_curve(rank.time, {.largest = 256, .budget_seconds = 1e6}).back().batch, 256);
}

TEST(MeasureCurve, KeepsToItsBudget) {
  for (const double per_sample : {1e-5, 1e-3, 1e-2, 0.1}) {
    FakeRank rank{[=](std::int64_t b) { return per_sample * static_cast<double>(b + 2); }};
    const auto curve = measure_curve(rank.time, {.largest = 4096, .whole = true, .budget_seconds = 10});
    EXPECT_LE(rank.busy, 12) << per_sample;
    EXPECT_GE(curve.size(), 2U) << per_sample;
  }
}

TEST(MeasureCurve, AVerySlowRankStillHasItsFirstPoint) {
  FakeRank rank{[](std::int64_t b) { return 100.0 * static_cast<double>(b); }};
  const auto curve = measure_curve(rank.time, {.largest = 8, .whole = true, .budget_seconds = 10});
  ASSERT_EQ(curve.size(), 1U);
  EXPECT_EQ(curve[0].seconds, 100);
  EXPECT_LE(rank.busy, 200);
}

TEST(MeasureCurve, TheMedianIsNotMovedByDisturbances) {
  std::mt19937_64 random(3);
  const auto noise = [&] {
    const double normal = std::normal_distribution(0.0, 0.02)(random);
    return random() % 8 == 0 ? 3.0 : 1 + normal;  // every eighth timing is disturbed
  };
  const TimeMicroBatches time = [&](std::int64_t batch, int count) {
    return overhead_and_slope(batch) * count * noise();
  };
  const auto curve = measure_curve(time, {.largest = 64, .whole = true, .budget_seconds = 1000});
  for (const plan::CurvePoint& point : curve) {
    EXPECT_NEAR(point.seconds / overhead_and_slope(point.batch), 1, 0.08) << point.batch;
  }
}

TEST(MeasureCurve, NeverFallsAndAveragesNeighboursThatViolateThat) {
  // A batch of 8 was disturbed every time it was timed.
  const TimeMicroBatches time = [](std::int64_t batch, int count) {
    return overhead_and_slope(batch) * count * (batch == 8 ? 4 : 1);
  };
  const auto curve = measure_curve(time, {.largest = 32, .whole = true, .budget_seconds = 1000});
  for (std::size_t i = 1; i < curve.size(); ++i) EXPECT_LE(curve[i - 1].seconds, curve[i].seconds);
  EXPECT_LT(interpolate(curve, 8), 4 * overhead_and_slope(8));
  EXPECT_GT(interpolate(curve, 8), overhead_and_slope(8));
  EXPECT_DOUBLE_EQ(curve.front().seconds, overhead_and_slope(1));
}

TEST(MeasureCurve, TimesAgainWhatABurstOfDisturbanceMadeSlow) {
  // A neighbour takes half of the machine for five seconds in the middle of long timings.
  double now = 0;
  const TimeMicroBatches time = [&](std::int64_t batch, int count) {
    const double taken = 0.3 * static_cast<double>(batch) * count * (now > 2 && now < 7 ? 2 : 1);
    now += taken;
    return taken;
  };
  const auto curve = measure_curve(time, {.largest = 4, .whole = true, .budget_seconds = 20});
  for (const plan::CurvePoint& point : curve) {
    EXPECT_NEAR(point.seconds, 0.3 * static_cast<double>(point.batch), 1e-12) << point.batch;
  }
}

TEST(MeasureCurve, LeavesWhatIsSlowByItself) {
  FakeRank rank{[](std::int64_t b) { return 0.01 * static_cast<double>(b) * (b > 16 ? 1.5 : 1); }};
  const auto curve = measure_curve(rank.time, {.largest = 64, .whole = true, .budget_seconds = 100});
  for (const plan::CurvePoint& point : curve)
    EXPECT_NEAR(point.seconds, rank.seconds(point.batch), 1e-12) << point.batch;
}

/// On a GPU the first run of a shape makes plans and takes memory: seconds, beside milliseconds from then on.
TEST(MeasureCurve, DoesNotCountTheFirstRunOfABatchWhereThatWarmsUp) {
  std::set<std::int64_t> seen;
  const auto later = [](std::int64_t batch) { return 0.02 * static_cast<double>(batch); };
  const TimeMicroBatches time = [&](std::int64_t batch, int count) {
    return later(batch) * count + (seen.insert(batch).second ? 2 : 0);
  };
  const auto curve = measure_curve(time, {.largest = 32, .whole = true, .budget_seconds = 60, .warm_up = true});
  EXPECT_EQ(curve.back().batch, 32);
  for (const plan::CurvePoint& point : curve) EXPECT_NEAR(point.seconds, later(point.batch), 1e-12) << point.batch;
}

TEST(MeasureCurve, ReportsWhatItHasSpent) {
  FakeRank rank{overhead_and_slope};
  double last = 0;
  CurveOptions options{.largest = 16, .whole = true};
  options.progress = [&](double spent) {
    EXPECT_GT(spent, last);
    last = spent;
  };
  measure_curve(rank.time, options);
  EXPECT_DOUBLE_EQ(last, rank.busy);
}

TEST(Interpolate, FollowsStraightLinesAndRefusesWhatWasNotMeasured) {
  const std::vector<plan::CurvePoint> curve = {{1, 1.0}, {5, 3.0}};
  EXPECT_DOUBLE_EQ(interpolate(curve, 1), 1);
  EXPECT_DOUBLE_EQ(interpolate(curve, 3), 2);
  EXPECT_DOUBLE_EQ(interpolate(curve, 5), 3);
  EXPECT_THROW(interpolate(curve, 0), std::invalid_argument);
  EXPECT_THROW(interpolate(curve, 6), std::invalid_argument);
}

}  // namespace
}  // namespace lshdp::measure
