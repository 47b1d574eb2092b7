// Monotone interpolation of measured times.
#include "time_curve.h"

#include <algorithm>
#include <cmath>

namespace lshdp::plan {
namespace {

constexpr double kMinOfChord = 0.5;    // of the slope from the first point to the last
constexpr double kMinOfSample = 0.01;  // of a sample's time: where all points took the same, more is not free

double slope_between(const CurvePoint& a, const CurvePoint& b) {
  return (b.seconds - a.seconds) / static_cast<double>(b.batch - a.batch);
}

/// The time at `batch`, beyond the last of the measured corners.
double extrapolate(const std::vector<CurvePoint>& corners, std::int64_t batch) {
  const CurvePoint last = corners.back();
  const double per_sample = last.seconds / static_cast<double>(last.batch);
  double slope = per_sample;
  if (corners.size() > 1) {
    const double least = std::max(kMinOfChord * slope_between(corners.front(), last), kMinOfSample * per_sample);
    slope = std::clamp(slope_between(corners[corners.size() - 2], last), std::min(least, per_sample), per_sample);
  }
  return last.seconds + slope * static_cast<double>(batch - last.batch);
}

}  // namespace

TimeCurve::TimeCurve(const RankProfile& rank) {
  if (rank.max_batch < 1) return;
  for (const CurvePoint& point : rank.curve) {
    const double at_least = corners_.empty() ? 0 : corners_.back().seconds;
    corners_.push_back({point.batch, std::max(point.seconds, at_least)});
  }
  if (!corners_.empty()) measured_to_ = corners_.back().batch;
  if (!corners_.empty() && corners_.back().batch < rank.max_batch) {
    corners_.push_back({rank.max_batch, extrapolate(corners_, rank.max_batch)});
  }
}

double TimeCurve::seconds(std::int64_t batch) const {
  const auto above =
      std::lower_bound(corners_.begin(), corners_.end(), batch,
                       [](const CurvePoint& corner, std::int64_t value) { return corner.batch < value; });
  if (above->batch == batch) return above->seconds;
  const CurvePoint& below = *std::prev(above);
  const double way = static_cast<double>(batch - below.batch) / static_cast<double>(above->batch - below.batch);
  return std::lerp(below.seconds, above->seconds, way);
}

double TimeCurve::best_samples_per_second() const {
  // On a straight line, samples per second is monotone: its maximum is at a corner.
  double best = 0;
  for (const CurvePoint& corner : corners_) best = std::max(best, static_cast<double>(corner.batch) / corner.seconds);
  return best;
}

}  // namespace lshdp::plan
