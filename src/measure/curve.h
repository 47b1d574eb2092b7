// The compute curve of one rank: how long forward and backward of a micro-batch take, by batch.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "lshdp/plan/profile.h"

namespace lshdp::measure {

/// Seconds that `count` micro-batches of `batch` samples take, one after the other.
using TimeMicroBatches = std::function<double(std::int64_t batch, int count)>;

struct CurveOptions {
  std::int64_t largest = 1;    // the curve ends here at the latest
  std::int64_t likely = 0;     // the batch that is planned most likely: measured first, with neighbours; 0: not known
  bool whole = false;          // true: `largest` is wanted even where larger batches gain nothing (time permitting)
  double budget_seconds = 20;  // no point is begun that is expected to end later
  double tolerance = 0.05;     // points are added where a straight line is further off than this
  double steady = 0.03;        // repeats end when the median's standard error is below this
  double min_seconds = 0.03;   // one timing lasts at least this long: small batches are run several times in a row
  // Each batch runs once before it is timed: what is kept for a shape (a GPU's plans and memory) is made then.
  bool warm_up = false;
  double long_enough = 1;  // seconds of a micro-batch beyond which larger ones must pay, to be measured
  std::function<void(double spent_seconds)> progress = {};  // called after each timing
};

/// Measures batch 1; where the likely batch is known, that one (or the next half of it for which there is time), half
/// of it and a quarter more; then 2, 4 .. and the largest, then halves every interval once and goes on halving where a
/// straight line is off by more than the tolerance; the widest interval first. Each point is the median of timings
/// after a warm-up; one that is slow beside smaller batches is timed again, in up to a fifth of the budget more, and
/// its quicker value counts; the curve never falls (isotonic regression). Without `whole`, doubling ends where it
/// gained less than 2 % per sample twice and a micro-batch takes long enough. By batch, rising, the first is 1. Time is
/// what `time` says, so that tests need no clock. Where `time` runs out of memory (is_out_of_memory), larger batches
/// are not tried.
std::vector<plan::CurvePoint> measure_curve(const TimeMicroBatches& time, const CurveOptions& options);

/// What the curve says of `batch` between its first and last point, on straight lines.
double interpolate(const std::vector<plan::CurvePoint>& curve, std::int64_t batch);

}  // namespace lshdp::measure
