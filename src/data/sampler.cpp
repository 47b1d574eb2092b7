// A keyed permutation of the data set, cut into global batches and those into slices of ranks.
#include "lshdp/data/sampler.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "random.h"

namespace lshdp::data {
namespace {

__extension__ using Wide = __int128;  // count x weight does not fit 64 bits

std::int64_t checked_total(std::int64_t size, const std::vector<std::int64_t>& batches) {
  std::int64_t total = 0;
  for (std::size_t rank = 0; rank < batches.size(); ++rank) {
    if (batches[rank] < 0) {
      throw UsageError(fmt::format("the batch of rank {} is {}; it must be 0 or more", rank, batches[rank]));
    }
    if (batches[rank] > size - total) {
      throw UsageError(
          fmt::format("the batches add up to more than the data set's {} samples; take a smaller total", size));
    }
    total += batches[rank];
  }
  if (total == 0) throw UsageError("all batches are 0; at least one rank must get a sample");
  return total;
}

}  // namespace

KeyedPermutation::KeyedPermutation(std::int64_t size, std::uint64_t seed, std::int64_t epoch) : size_(size) {
  if (size < 1) throw UsageError(fmt::format("a permutation of {} samples; there must be at least 1", size));
  const auto bits = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(size - 1)));
  half_bits_ = std::max(1, (bits + 1) / 2);
  KeyedRandom random(seed, static_cast<std::uint64_t>(epoch));
  for (std::uint64_t& key : keys_) key = random.next();
}

std::int64_t KeyedPermutation::operator()(std::int64_t position) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  auto value = static_cast<std::uint64_t>(position);
  // The network permutes a power of four that is at most about 4 x size; walking on until inside [0, size) keeps it one
  // to one.
  do {
    std::uint64_t left = value >> half_bits_, right = value & mask;
    for (const std::uint64_t key : keys_) {
      left = std::exchange(right, left ^ (mix_bits(right ^ key) & mask));
    }
    value = left << half_bits_ | right;
  } while (value >= static_cast<std::uint64_t>(size_));
  return static_cast<std::int64_t>(value);
}

HeterogeneousDistributedSampler::HeterogeneousDistributedSampler(std::int64_t size, std::vector<std::int64_t> batches,
                                                                 std::uint64_t seed)
    : size_(size), batches_(std::move(batches)), seed_(seed) {
  if (size < 1) throw UsageError("the data set holds no samples");
  total_ = checked_total(size, batches_);
}

std::int64_t HeterogeneousDistributedSampler::steps_per_epoch() const { return (size_ - 1) / total_ + 1; }

std::int64_t HeterogeneousDistributedSampler::global_count(std::int64_t step) const {
  return std::min(total_, size_ - step % steps_per_epoch() * total_);
}

Range HeterogeneousDistributedSampler::slice_of(std::int64_t step, int rank) const {
  if (rank < 0 || static_cast<std::size_t>(rank) >= batches_.size()) {
    throw UsageError(
        fmt::format("there is no batch for rank {}: batches are given for {} ranks", rank, batches_.size()));
  }
  const auto counts = split_in_proportion(global_count(step), batches_);
  const auto own = counts.begin() + rank;
  const std::int64_t first = step % steps_per_epoch() * total_;
  const std::int64_t begin = std::accumulate(counts.begin(), own, first);
  return {begin, begin + *own};
}

std::vector<std::int64_t> HeterogeneousDistributedSampler::samples_of(std::int64_t step, int rank) const {
  return samples_at(slice_of(step, rank), epoch_of(step));
}

std::vector<std::int64_t> HeterogeneousDistributedSampler::samples_of(std::int64_t step) const {
  const std::int64_t begin = step % steps_per_epoch() * total_;
  return samples_at({begin, begin + global_count(step)}, epoch_of(step));
}

std::vector<std::int64_t> HeterogeneousDistributedSampler::samples_at(const Range& positions,
                                                                      std::int64_t epoch) const {
  const KeyedPermutation order(size_, seed_, epoch);
  std::vector<std::int64_t> samples;
  samples.reserve(static_cast<std::size_t>(positions.count()));
  for (std::int64_t position = positions.begin; position < positions.end; ++position)
    samples.push_back(places_ == 0 ? order(position) : draw(epoch, position));
  return samples;
}

std::int64_t HeterogeneousDistributedSampler::draw(std::int64_t epoch, std::int64_t position) const {
  KeyedRandom random(seed_, static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(position));
  return random.below_wide(places_);
}

void HeterogeneousDistributedSampler::draw_from(std::int64_t places) {
  if (places < 1) throw UsageError(fmt::format("there are {} places to draw samples from", places));
  places_ = places;
}

void HeterogeneousDistributedSampler::set_epoch(std::int64_t epoch) { first_epoch_ = epoch; }

void HeterogeneousDistributedSampler::set_batches(std::vector<std::int64_t> batches) {
  const std::int64_t total = checked_total(size_, batches);
  if (total != total_) {
    throw UsageError(
        fmt::format("the new batches add up to {}, the old ones to {}; the total must stay", total, total_));
  }
  batches_ = std::move(batches);
}

std::vector<std::int64_t> split_in_proportion(std::int64_t count, std::span<const std::int64_t> weights) {
  Wide sum = 0;
  for (const std::int64_t weight : weights) {
    if (weight < 0) throw UsageError(fmt::format("a weight of {}; weights must be 0 or more", weight));
    sum += weight;
  }
  if (count < 0) throw UsageError(fmt::format("cannot split {} items", count));
  if (sum == 0) throw UsageError("all weights are 0; at least one rank must get a share");
  std::vector<std::int64_t> parts;
  std::vector<Wide> remainders;
  std::int64_t left = count;
  for (const std::int64_t weight : weights) {
    parts.push_back(static_cast<std::int64_t>(Wide{count} * weight / sum));
    remainders.push_back(Wide{count} * weight % sum);
    left -= parts.back();
  }
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return remainders[a] > remainders[b]; });
  for (std::int64_t i = 0; i < left; ++i) ++parts[order[static_cast<std::size_t>(i)]];
  return parts;
}

}  // namespace lshdp::data
