// t(b): how long one micro-batch of b samples takes a rank, from the points that were measured.
#pragma once
#include <cstdint>
#include <vector>

#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// Time of a micro-batch by its size: the measured points made non-decreasing by their running maximum (a larger
/// micro-batch that was measured faster is noise, and a smaller one can always be padded), straight lines between them,
/// and beyond the last point the last line's slope up to max_batch. What one noisy point can do to that slope is
/// bounded: at least half of the slope from the first point to the last, at most what a sample takes in the last
/// point's batch (larger batches are not taken to be slower per sample). With one point only, time is proportional to
/// size.
class TimeCurve {
 public:
  explicit TimeCurve(const RankProfile& rank);

  /// The last point that was measured; 0 if there is none. What is said of larger batches is extrapolated.
  std::int64_t measured_to() const { return measured_to_; }
  std::int64_t max_batch() const { return corners_.empty() ? 0 : corners_.back().batch; }
  /// Seconds for `batch` samples, 1..max_batch(). Never decreases with `batch`.
  double seconds(std::int64_t batch) const;
  /// Where the straight lines meet: from batch 1 to max_batch(). Empty if the rank holds no sample.
  const std::vector<CurvePoint>& corners() const { return corners_; }
  /// The most samples per second of any micro-batch size; 0 if the rank holds no sample.
  double best_samples_per_second() const;

 private:
  std::vector<CurvePoint> corners_;
  std::int64_t measured_to_ = 0;
};

}  // namespace lshdp::plan
