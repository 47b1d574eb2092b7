// f(B): the least time in which one rank runs B samples as micro-batches, and the sizes that reach it.
#pragma once
#include <cstdint>
#include <map>
#include <vector>

#include "time_curve.h"

namespace lshdp::plan {

/// The network's part of a step, as far as micro-batches change it.
struct WireTime {
  double seconds = 0;       // that the transfers of a step, or of each pass, take if nothing else happens
  bool every_pass = false;  // each micro-batch gathers and sums everything (fsdp)
};

/// What a batch takes a rank. Both never fall with the batch.
struct SplitTime {
  double seconds = 0;  // f(B): forward and backward of all micro-batches
  /// When the step's transfers are done, if this rank alone holds them up; 0 with one micro-batch.
  ///
  /// Transfers hide behind a step's last backward and first forward only, two thirds and one third of a micro-batch (of
  /// its floating-point operations): sum over t(b_i) - (t(b_first) + 2 t(b_last)) / 3 + wire.seconds, in the order
  /// of in_training_order(). With every_pass: one micro-batch's wire.seconds each.
  double network = 0;
};

/// The same of a batch that is cut into `micro_batches`.
SplitTime split_time(const TimeCurve& curve, const WireTime& wire, const std::vector<std::int64_t>& micro_batches);

/// f(B) of one rank, exact over all ways to cut B into at most `limit` micro-batches (0: no limit).
///
/// Between two corners of t(b) time is a straight line. Of two micro-batches strictly between corners, one can grow and
/// the other shrink, sample by sample, in the direction that does not cost time, until one of them is at a corner. So
/// some best cut has at most one micro-batch that is no corner: a dynamic program over the few corner sizes, followed
/// by one micro-batch of any size (a sliding-window minimum per line), is exact in O(B x corners) instead of O(B x
/// max_batch).
///
/// Where one micro-batch holds the batch, a cut is taken only if it is quicker with the network's part (SplitTime) and
/// a tenth on top of its time, which is what measured curves are worth.
///
/// Each micro-batch is charged a billionth of t(1) on top, so that of cuts equally fast the one with fewest
/// micro-batches wins; f is therefore the least time to one part in 10^9. f never decreases with B. Tables grow as far
/// as they are asked.
class SplitCost {
 public:
  /// `largest`: no batch above it will be asked for.
  SplitCost(TimeCurve curve, const WireTime& wire, std::int64_t limit, std::int64_t largest);

  const TimeCurve& curve() const { return curve_; }
  /// The most samples the rank can take: min(largest, limit x max_batch).
  std::int64_t largest() const { return largest_; }
  /// Of 0 <= batch <= largest(). Throws UsageError if the tables would not fit in memory.
  SplitTime time(std::int64_t batch);
  /// The largest batch with f(batch) <= `seconds` and its transfers done by `network_seconds`, at most largest().
  std::int64_t capacity(double seconds, double network_seconds);
  /// Sizes that reach f(batch), largest first.
  const std::vector<std::int64_t>& micro_batches(std::int64_t batch);

 private:
  void grow(std::int64_t batch);

  TimeCurve curve_;
  WireTime wire_;
  std::int64_t limit_;
  std::int64_t largest_;
  std::vector<SplitTime> table_;  // of 0, 1, .. as far as asked; unused where one micro-batch is the limit
  std::map<std::int64_t, std::vector<std::int64_t>> cuts_;
};

}  // namespace lshdp::plan
