// t(b): how long one micro-batch of b samples takes a rank, from the points that were measured.
#pragma once
#include <cstdint>
#include <vector>

#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// Time of a micro-batch by its size: the measured points made non-decreasing by their running maximum (a larger
/// micro-batch that was measured faster is noise, and a smaller one can always be padded), straight lines between them,
/// and the last line's slope beyond the last point up to max_batch. With one point only, time is proportional to size.
class TimeCurve {
 public:
  explicit TimeCurve(const RankProfile& rank);

  std::int64_t max_batch() const { return corners_.empty() ? 0 : corners_.back().batch; }
  /// Seconds for `batch` samples, 1..max_batch(). Never decreases with `batch`.
  double seconds(std::int64_t batch) const;
  /// Where the straight lines meet: from batch 1 to max_batch(). Empty if the rank holds no sample.
  const std::vector<CurvePoint>& corners() const { return corners_; }
  /// The most samples per second of any micro-batch size; 0 if the rank holds no sample.
  double best_samples_per_second() const;

 private:
  std::vector<CurvePoint> corners_;
};

}  // namespace lshdp::plan
