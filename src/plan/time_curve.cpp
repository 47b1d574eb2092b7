// Monotone interpolation of measured times.
#include "time_curve.h"

#include <algorithm>
#include <cmath>

namespace lshdp::plan {
namespace {

/// The time at `batch` on the line through the last two corners, or through the origin if there is one corner.
double extrapolate(const std::vector<CurvePoint>& corners, std::int64_t batch) {
  const CurvePoint last = corners.back();
  const CurvePoint before = corners.size() > 1 ? corners[corners.size() - 2] : CurvePoint{0, 0};
  const double slope = (last.seconds - before.seconds) / static_cast<double>(last.batch - before.batch);
  return last.seconds + slope * static_cast<double>(batch - last.batch);
}

}  // namespace

TimeCurve::TimeCurve(const RankProfile& rank) {
  if (rank.max_batch < 1) return;
  for (const CurvePoint& point : rank.curve) {
    const double at_least = corners_.empty() ? 0 : corners_.back().seconds;
    corners_.push_back({point.batch, std::max(point.seconds, at_least)});
  }
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
