// Which samples a rank trains on at a step: the same global batches whatever the split, the number of ranks or the
// restarts.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace lshdp::data {

/// A bijection of [0, size) keyed by (seed, epoch), computed per element in O(1) memory (a Feistel network with cycle
/// walking).
class KeyedPermutation {
 public:
  /// Throws UsageError if size < 1.
  KeyedPermutation(std::int64_t size, std::uint64_t seed, std::int64_t epoch);
  /// The sample at `position`, which is in [0, size).
  std::int64_t operator()(std::int64_t position) const;

 private:
  std::int64_t size_;
  int half_bits_;
  std::uint64_t keys_[6];
};

/// Half-open range of positions in the global sample order of an epoch.
struct Range {
  std::int64_t begin = 0, end = 0;
  std::int64_t count() const { return end - begin; }
};

/// Splits each global batch over ranks. Steps are counted from the start of training; every epoch has
/// steps_per_epoch() = ceil(size / total) steps, the last of which may be smaller and is split in the same proportions.
class HeterogeneousDistributedSampler {
 public:
  /// Throws UsageError if size < 1, a batch is negative, all are 0, or their sum exceeds `size`.
  HeterogeneousDistributedSampler(std::int64_t size, std::vector<std::int64_t> batches, std::uint64_t seed);

  std::int64_t total() const { return total_; }
  std::int64_t steps_per_epoch() const;
  /// The epoch of `step`: what keys its order of samples and their augmentation. Counts from set_epoch's.
  std::int64_t epoch_of(std::int64_t step) const { return first_epoch_ + step / steps_per_epoch(); }
  /// Samples of the whole global batch of `step`.
  std::int64_t global_count(std::int64_t step) const;
  /// Positions of `step` that belong to `rank`, within its epoch.
  Range slice_of(std::int64_t step, int rank) const;
  /// Sample numbers of `rank` at `step`, in order.
  std::vector<std::int64_t> samples_of(std::int64_t step, int rank) const;
  /// The same of all ranks.
  std::vector<std::int64_t> samples_of(std::int64_t step) const;
  /// Restarts the order of samples as PyTorch's DistributedSampler.set_epoch does: `step` 0 is then the first of
  /// `epoch`.
  void set_epoch(std::int64_t epoch);
  /// From now on each sample is drawn from [0, places) by itself, keyed by (seed, epoch, position), in place of the
  /// epoch's order of the data set: for token windows that begin anywhere. Throws UsageError if places < 1.
  void draw_from(std::int64_t places);
  /// Changes the split from the next call on; the sum must stay the same (UsageError).
  void set_batches(std::vector<std::int64_t> batches);

 private:
  std::int64_t draw(std::int64_t epoch, std::int64_t position) const;
  std::vector<std::int64_t> samples_at(const Range& positions, std::int64_t epoch) const;

  std::int64_t size_;
  std::vector<std::int64_t> batches_;
  std::int64_t total_;
  std::uint64_t seed_;
  std::int64_t first_epoch_ = 0;
  std::int64_t places_ = 0;  // 0: samples are permuted, not drawn
};

/// `count` items split over ranks in proportion to `weights` (largest remainder, lowest rank first): exact, and equal
/// to `weights` if count is their sum. If count is at most their sum, no rank gets more than its weight. Throws
/// UsageError if count or a weight is negative, or all weights are 0.
std::vector<std::int64_t> split_in_proportion(std::int64_t count, std::span<const std::int64_t> weights);

}  // namespace lshdp::data
