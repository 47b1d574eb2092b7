// f(B): the least time in which one rank runs B samples as micro-batches, and the sizes that reach it.
#pragma once
#include <cstdint>
#include <map>
#include <vector>

#include "time_curve.h"

namespace lshdp::plan {

/// f(B) of one rank, exact over all ways to cut B into at most `limit` micro-batches (0: no limit).
///
/// Between two corners of t(b) time is a straight line. Of two micro-batches strictly between corners, one can grow and
/// the other shrink, sample by sample, in the direction that does not cost time, until one of them is at a corner. So
/// some best cut has at most one micro-batch that is no corner: a dynamic program over the few corner sizes, followed
/// by one micro-batch of any size (a sliding-window minimum per line), is exact in O(B x corners) instead of O(B x
/// max_batch).
///
/// Where one micro-batch holds the batch, a cut must save a tenth of its time to be taken: less is within what measured
/// curves are worth, and a cut costs what the curve does not know, because transfers hide behind the last backward and
/// the first forward only. So f(B) = min(t(B), 1.1 x the best cut) up to max_batch.
///
/// Each micro-batch is charged a billionth of t(1) on top, so that of cuts equally fast the one with fewest
/// micro-batches wins; f is therefore the least time to one part in 10^9. f never decreases with B. Tables grow as far
/// as they are asked.
class SplitCost {
 public:
  /// `largest`: no batch above it will be asked for.
  SplitCost(TimeCurve curve, std::int64_t limit, std::int64_t largest);

  const TimeCurve& curve() const { return curve_; }
  /// The most samples the rank can take: min(largest, limit x max_batch).
  std::int64_t largest() const { return largest_; }
  /// f(batch), 0 <= batch <= largest(); 0 for 0. Throws UsageError if the tables would not fit in memory.
  double seconds(std::int64_t batch);
  /// The largest batch with f(batch) <= `seconds`, at most largest().
  std::int64_t capacity(double seconds);
  /// Sizes that reach f(batch), largest first.
  const std::vector<std::int64_t>& micro_batches(std::int64_t batch);

 private:
  void grow(std::int64_t batch);

  TimeCurve curve_;
  std::int64_t limit_;
  std::int64_t largest_;
  std::vector<double> table_;  // f(0), f(1), .. as far as asked; unused where one micro-batch is the limit
  std::map<std::int64_t, std::vector<std::int64_t>> cuts_;
};

}  // namespace lshdp::plan
