// Adaptive sampling of a curve within a time budget.
#include "curve.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <stdexcept>

#include "lshdp/core/memory.h"

namespace lshdp::measure {
namespace {

constexpr int kMinRepeats = 3, kMaxRepeats = 15, kMaxInARow = 200;
constexpr double kLongTiming = 0.5;       // seconds; one this long averages disturbances by itself and needs no warm-up
constexpr double kShareOfLikely = 0.45;   // of the budget, for the likely batch and what comes before it
constexpr double kShareOfDoubling = 0.7;  // of the budget; the rest is for points in between
constexpr double kMaxForSmall = 0.06;     // of the budget, for repeats of a point of the doubling beyond the least
constexpr double kShareOfPoint = 0.15;    // of the budget, for the repeats of one point in between
constexpr double kDoubt = 0.1;            // a sample that takes so much longer than in a smaller batch was disturbed
constexpr double kShareWithDoubts = 1.2;  // of the budget; what is timed again may take so much in all
constexpr double kGain = 0.02;            // a doubling that saves less than this per sample gained nothing

/// The value at `share` of the sorted values, between neighbours on a straight line.
double quantile(const std::vector<double>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const double rest = at - static_cast<double>(below);
  return rest == 0 ? sorted[below] : sorted[below] + rest * (sorted[below + 1] - sorted[below]);
}

/// Standard error of the median over the median, estimated from the quartiles as for a normal distribution:
/// 1.2533 sigma / sqrt(n), sigma = (q75 - q25) / 1.349.
double relative_error_of_median(const std::vector<double>& sorted) {
  const double sigma = (quantile(sorted, 0.75) - quantile(sorted, 0.25)) / 1.349;
  return 1.2533 * sigma / std::sqrt(static_cast<double>(sorted.size())) / quantile(sorted, 0.5);
}

/// The curve that never falls and is nearest to `curve` in the logarithm of its seconds (isotonic regression by pooling
/// neighbours that violate the order, Barlow et al. 1972). Fewer samples cannot take longer: where they seem to, the
/// machine was disturbed, and the mean of the neighbours is nearer to what training will see than the quickest or the
/// slowest.
std::vector<plan::CurvePoint> monotone(std::vector<plan::CurvePoint> curve) {
  struct Pool {
    double sum = 0;
    std::size_t count = 0;
    double mean() const { return sum / static_cast<double>(count); }
  };
  std::vector<Pool> pools;
  for (const plan::CurvePoint& point : curve) {
    pools.push_back({std::log(point.seconds), 1});
    while (pools.size() > 1 && pools[pools.size() - 2].mean() > pools.back().mean()) {
      const Pool last = pools.back();
      pools.pop_back();
      pools.back().sum += last.sum;
      pools.back().count += last.count;
    }
  }
  std::size_t at = 0;
  for (const Pool& pool : pools) {
    // A point that violates nothing stays what was measured, to the bit.
    for (std::size_t i = 0; i < pool.count; ++i, ++at) {
      if (pool.count > 1) curve[at].seconds = std::exp(pool.mean());
    }
  }
  return curve;
}

class CurveMeasurement {
 public:
  CurveMeasurement(const TimeMicroBatches& time, const CurveOptions& options) : time_(time), options_(options) {}

  std::vector<plan::CurvePoint> run() {
    measure_one();
    around_likely();
    double_up();
    refine();
    time_doubtful_again();
    std::vector<plan::CurvePoint> curve;
    for (const auto& [batch, seconds] : points_) curve.push_back({batch, seconds});
    return monotone(std::move(curve));
  }

 private:
  double timed(std::int64_t batch, int count) {
    const double seconds = time_(batch, count);
    spent_ += seconds;
    if (options_.progress) options_.progress(spent_);
    return seconds / count;
  }

  /// Timings that a point of about `seconds` a micro-batch needs at least.
  int min_timings(double seconds) const {
    return (seconds >= kLongTiming ? 2 : 1 + kMinRepeats) + (options_.warm_up ? 1 : 0);
  }

  /// Whether a point that takes about `seconds` a micro-batch can be measured before `share` of the budget is spent.
  bool affords(double seconds, double share) const {
    return spent_ + min_timings(seconds) * std::max(seconds, options_.min_seconds) <= share * options_.budget_seconds;
  }

  /// Median seconds of a micro-batch, from timings of about `allowance` seconds at most. The first run warms caches and
  /// tells how many to time in a row; where there is no time for more, it is the measurement.
  void measure(std::int64_t batch, double allowance, std::size_t most = kMaxRepeats) {
    try {
      measure_what_fits(batch, allowance, most);
    } catch (const std::exception& error) {
      if (batch == 1 || !is_out_of_memory(error)) throw;
      largest_ = std::min(largest_, batch - 1);
    }
  }

  void measure_what_fits(std::int64_t batch, double allowance, std::size_t most) {
    const double end = spent_ + allowance;
    if (options_.warm_up) timed(batch, 1);
    const double first = timed(batch, 1);
    const int count = static_cast<int>(std::clamp(std::ceil(options_.min_seconds / first), 1.0, double{kMaxInARow}));
    std::vector<double> sorted;
    if (first >= kLongTiming) sorted.push_back(first);
    while (sorted.size() < most && spent_ + first * count <= end) {
      const double seconds = timed(batch, count);
      sorted.insert(std::ranges::upper_bound(sorted, seconds), seconds);
      if (sorted.size() >= kMinRepeats && relative_error_of_median(sorted) <= options_.steady) break;
    }
    points_[batch] = sorted.empty() ? first : quantile(sorted, 0.5);
  }

  /// An equal part of what is left for doubling, so that noisy small batches do not take the time of large ones.
  double allowance_of_doubling(std::int64_t batch) const {
    const double points_left = std::ceil(std::log2(static_cast<double>(largest_) / static_cast<double>(batch))) + 1;
    return (kShareOfDoubling * options_.budget_seconds - spent_) / points_left;
  }

  void measure_one() {
    timed(1, 1);  // wakes threads and fills caches for all that follow
    measure(1, std::min(allowance_of_doubling(1), kMaxForSmall * options_.budget_seconds));
  }

  /// What `batch` should take at most: in proportion to the next smaller point.
  double expected(std::int64_t batch) const {
    const auto& [below, seconds] = *std::prev(points_.upper_bound(batch));
    return seconds * static_cast<double>(batch) / static_cast<double>(below);
  }

  /// For which there is enough time that as much again is left.
  void around_likely() {
    std::int64_t at = std::min(options_.likely, largest_);
    while (at > 1 && !affords(expected(at), kShareOfLikely)) at /= 2;
    if (at <= 1) return;
    for (const std::int64_t batch : {at, at / 2, at + std::max<std::int64_t>(1, at / 4)}) {
      const double seconds = expected(batch);
      if (batch > largest_ || points_.contains(batch) || !affords(seconds, 1)) continue;
      measure(batch, std::max((0.5 + min_timings(seconds)) * seconds, kMaxForSmall * options_.budget_seconds),
              seconds >= kLongTiming ? 2 : kMaxRepeats);
    }
  }

  void double_up() {
    int without_gain = 0;
    for (std::int64_t batch = 1; batch < largest_;) {
      const std::int64_t next = std::min(2 * batch, largest_);
      const double expected = points_[batch] * static_cast<double>(next) / static_cast<double>(batch);
      if (!points_.contains(next)) {
        if (!affords(expected, kShareOfDoubling)) return;
        measure(next, std::max(std::min(allowance_of_doubling(next), kMaxForSmall * options_.budget_seconds),
                               (0.5 + min_timings(expected)) * expected));
        if (!points_.contains(next)) return;
      }
      const double gain = 1 - points_[next] / expected;
      without_gain = gain < kGain ? without_gain + 1 : 0;
      if (!options_.whole && without_gain >= 2 && points_[next] > options_.long_enough) return;
      batch = next;
    }
  }

  /// Halves each interval once, and again the halves of those that were not straight.
  void refine() {
    std::multimap<std::int64_t, std::int64_t> open;  // width -> first batch of the interval
    const auto add = [&](std::int64_t begin, std::int64_t end) {
      if (end - begin >= 2) open.emplace(end - begin, begin);
    };
    for (auto point = points_.begin(); std::next(point) != points_.end(); ++point)
      add(point->first, std::next(point)->first);
    while (!open.empty()) {
      const auto [width, begin] = *std::prev(open.end());
      open.erase(std::prev(open.end()));
      const std::int64_t middle = begin + width / 2, end = begin + width;
      const double share = static_cast<double>(middle - begin) / static_cast<double>(width);
      const double straight = points_[begin] + share * (points_[end] - points_[begin]);
      if (!affords(straight, 1)) continue;  // a narrower interval may be cheaper
      measure(middle, kShareOfPoint * options_.budget_seconds);
      if (!points_.contains(middle)) continue;
      if (std::abs(points_[middle] - straight) <= options_.tolerance * points_[middle]) continue;
      add(begin, middle);
      add(middle, end);
    }
  }

  /// What a point is above what the quickest samples of smaller batches lead to expect; what they lead to expect.
  struct Doubt {
    double excess = 0, expected_seconds = 0;
    std::int64_t batch = 0;
  };

  /// The largest first.
  std::vector<Doubt> doubts() const {
    std::vector<Doubt> found;
    double quickest = points_.begin()->second;  // seconds a sample
    for (const auto& [batch, seconds] : points_) {
      const double samples = static_cast<double>(batch), excess = seconds / (quickest * samples) - 1;
      if (excess > kDoubt) found.push_back({excess, quickest * samples, batch});
      quickest = std::min(quickest, seconds / samples);
    }
    std::ranges::sort(found, std::ranges::greater(), &Doubt::excess);
    return found;
  }

  /// A neighbour on the machine that wakes up for some seconds falls on a few points, and all timings of a long one:
  /// they are timed again now, and the quicker counts. What is slow by itself, as where a cache overflows, stays so.
  void time_doubtful_again() {
    for (const Doubt& doubt : doubts()) {
      const double longest = std::max(doubt.expected_seconds, options_.min_seconds);
      if (spent_ + longest > kShareWithDoubts * options_.budget_seconds) continue;  // a smaller one may be affordable
      const double before = points_[doubt.batch];
      measure(doubt.batch, doubt.expected_seconds >= kLongTiming ? 0 : (1 + kMinRepeats) * longest);
      points_[doubt.batch] = std::min(points_[doubt.batch], before);
    }
  }

  const TimeMicroBatches& time_;
  const CurveOptions& options_;
  std::int64_t largest_ = options_.largest;  // that may fit
  std::map<std::int64_t, double> points_;
  double spent_ = 0;
};

}  // namespace

std::vector<plan::CurvePoint> measure_curve(const TimeMicroBatches& time, const CurveOptions& options) {
  if (options.largest < 1) throw std::invalid_argument("measure_curve: the largest batch must be at least 1");
  return CurveMeasurement(time, options).run();
}

double interpolate(const std::vector<plan::CurvePoint>& curve, std::int64_t batch) {
  const auto above = std::ranges::lower_bound(curve, batch, {}, &plan::CurvePoint::batch);
  if (above == curve.end() || (above == curve.begin() && above->batch != batch)) {
    throw std::invalid_argument("interpolate: the batch is outside the curve");
  }
  if (above->batch == batch) return above->seconds;
  const plan::CurvePoint& below = *std::prev(above);
  const double share = static_cast<double>(batch - below.batch) / static_cast<double>(above->batch - below.batch);
  return below.seconds + share * (above->seconds - below.seconds);
}

}  // namespace lshdp::measure
