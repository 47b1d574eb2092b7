// Seconds and bytes of consecutive blocks, on each rank of a profile.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// Blocks [start, end) of the model.
struct BlockRange {
  std::size_t start = 0, end = 0;
};

/// Of one micro-batch.
struct PassSeconds {
  double forward = 0, backward = 0;
  double both() const { return forward + backward; }
};

/// Seconds of the blocks before each one, 0 to all of them, for micro-batches of one size.
struct PassSums {
  std::vector<double> forward, backward;
  PassSeconds of(BlockRange range) const {
    return {forward[range.end] - forward[range.start], backward[range.end] - backward[range.start]};
  }
};

/// What each block takes of a rank's time for a micro-batch. All blocks together take what the compute curve says
/// (TimeCurve), so that a stage of the whole model takes as long as data parallel training does. Each block's part of
/// it was measured at some sizes: between them its seconds lie on straight lines, below and above them its part stays.
class BlockTimesOfRank {
 public:
  /// `largest`: no larger micro-batch is asked for. It may be above max_batch, which is what the whole model holds.
  BlockTimesOfRank(const RankProfile& rank, std::size_t blocks, std::int64_t largest);

  /// False: nothing was timed, neither the model nor parts of it.
  bool known() const { return !corners_.empty(); }
  /// `batch`: 1..largest.
  PassSeconds seconds(BlockRange range, std::int64_t batch) const;
  PassSums sums(std::int64_t batch) const;
  /// Of one block, forward and backward, in the micro-batch in which a sample takes least.
  double least_seconds_per_sample(std::size_t block) const;

 private:
  /// Between two corners time is a straight line.
  struct Corner {
    std::int64_t batch = 0;
    PassSums sums;
  };
  /// The two corners around `batch`, and how far it is from the first to the second.
  struct Place {
    const Corner* below;
    const Corner* above;
    double way;
  };
  Place place_of(std::int64_t batch) const;

  std::vector<Corner> corners_;
};

/// The largest value of any range, from those of all ranges whose length is a power of two.
class RangeLargest {
 public:
  explicit RangeLargest(std::vector<std::int64_t> values);
  /// 0 of an empty range.
  std::int64_t of(BlockRange range) const;

 private:
  std::vector<std::vector<std::int64_t>> levels_;  // [k][i]: of i .. i + 2^k - 1
};

/// A query takes the time of a search among few corners, whatever the range.
class BlockCosts {
 public:
  /// `largest`: as BlockTimesOfRank. Throws UsageError if the profile lists no blocks, or a rank that was timed has no
  /// times of blocks.
  BlockCosts(const Profile& profile, std::int64_t largest);

  std::size_t blocks() const { return output_bytes_.size(); }
  const BlockTimesOfRank& times(std::size_t rank) const { return times_[rank]; }

  std::int64_t parameters(BlockRange range) const { return parameters_[range.end] - parameters_[range.start]; }
  /// Of parameters that are not trained.
  std::int64_t frozen_bytes(BlockRange range) const { return frozen_bytes_[range.end] - frozen_bytes_[range.start]; }
  /// Of one sample, kept from forward to backward.
  std::int64_t activation_bytes(BlockRange range) const {
    return activation_bytes_[range.end] - activation_bytes_[range.start];
  }
  /// Of one sample: what the blocks of the range read, each of the one before.
  std::int64_t read_bytes(BlockRange range) const { return read_bytes_[range.end] - read_bytes_[range.start]; }
  /// Of one sample.
  std::int64_t output_bytes(std::size_t block) const { return output_bytes_[block]; }
  /// Of one sample and one block.
  std::int64_t largest_activation(BlockRange range) const { return largest_activation_.of(range); }
  std::int64_t largest_output(BlockRange range) const { return largest_output_.of(range); }
  /// Of one block: frozen parameters in few bits, as they are used.
  std::int64_t largest_expanded(BlockRange range) const { return largest_expanded_.of(range); }
  /// Of one sample: what the range reads of the block before; 0 for the model's first.
  std::int64_t input_bytes(BlockRange range) const { return range.start == 0 ? 0 : output_bytes_[range.start - 1]; }
  /// Of one sample: what the range sends to the block after; 0 for the model's last.
  std::int64_t sent_bytes(BlockRange range) const { return range.end == blocks() ? 0 : output_bytes_[range.end - 1]; }

 private:
  std::vector<std::int64_t> output_bytes_;
  // Sums of the blocks before each one.
  std::vector<std::int64_t> parameters_, frozen_bytes_, activation_bytes_, read_bytes_;
  RangeLargest largest_activation_, largest_output_, largest_expanded_;
  std::vector<BlockTimesOfRank> times_;
};

}  // namespace lshdp::plan
