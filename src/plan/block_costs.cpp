// Sums over blocks at the corners of the compute curve.
#include "block_costs.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "equal_blocks.h"
#include "lshdp/core/error.h"
#include "time_curve.h"

namespace lshdp::plan {
namespace {

/// The sum before each value, and of all.
template <typename T>
std::vector<T> sums_of(const std::vector<T>& values) {
  std::vector<T> sums{0};
  for (const T value : values) sums.push_back(sums.back() + value);
  return sums;
}

/// The measured times at `batch`, which may lie between two of them.
BlockTimes times_at(const std::vector<BlockTimes>& measured, std::int64_t batch) {
  const auto above = std::ranges::lower_bound(measured, batch, {}, [](const BlockTimes& times) { return times.batch; });
  if (above == measured.begin()) return *above;
  if (above == measured.end()) return measured.back();
  const BlockTimes& below = *std::prev(above);
  const double way = static_cast<double>(batch - below.batch) / static_cast<double>(above->batch - below.batch);
  BlockTimes between{.batch = batch, .forward = {}, .backward = {}};
  for (std::size_t block = 0; block < below.forward.size(); ++block) {
    between.forward.push_back(std::lerp(below.forward[block], above->forward[block], way));
    between.backward.push_back(std::lerp(below.backward[block], above->backward[block], way));
  }
  return between;
}

/// Scaled so that all blocks take `seconds`.
PassSums scaled_sums(BlockTimes times, double seconds) {
  const double sum = seconds_of(times);
  for (double& value : times.forward) value *= seconds / sum;
  for (double& value : times.backward) value *= seconds / sum;
  return {sums_of(times.forward), sums_of(times.backward)};
}

RankProfile up_to(RankProfile rank, std::int64_t largest) {
  rank.max_batch = std::max(rank.max_batch, largest);
  return rank;
}

/// Where the curve has a corner, or a block's part was measured.
std::set<std::int64_t> corner_sizes(const TimeCurve& curve, const std::vector<BlockTimes>& measured) {
  std::set<std::int64_t> sizes;
  for (const CurvePoint& corner : curve.corners()) sizes.insert(corner.batch);
  for (const BlockTimes& times : measured) {
    if (times.batch <= curve.max_batch()) sizes.insert(times.batch);
  }
  return sizes;
}

/// The first block reads the data, which is not counted.
std::vector<std::int64_t> read_by_each(std::vector<std::int64_t> output_bytes) {
  output_bytes.insert(output_bytes.begin(), 0);
  output_bytes.pop_back();
  return output_bytes;
}

template <typename Member>
std::vector<std::int64_t> figures(const std::vector<BlockProfile>& blocks, Member member) {
  std::vector<std::int64_t> values;
  for (const BlockProfile& block : blocks) values.push_back(block.*member);
  return values;
}

}  // namespace

BlockTimesOfRank::BlockTimesOfRank(const RankProfile& rank, std::size_t blocks, std::int64_t largest) {
  if (rank.curve.empty()) return;
  std::vector<BlockTimes> measured = rank.block_times;
  std::erase_if(measured, [](const BlockTimes& times) { return seconds_of(times) <= 0; });
  if (blocks == 0 || measured.empty()) {
    throw UsageError(fmt::format(
        "the profile has no times of blocks for rank {} ({}), which a layout is planned from; measure again "
        "with lshdp profile",
        rank.rank, rank.host));
  }
  const TimeCurve curve(up_to(rank, largest));
  for (const std::int64_t batch : corner_sizes(curve, measured))
    corners_.push_back({batch, scaled_sums(times_at(measured, batch), curve.seconds(batch))});
}

BlockTimesOfRank::Place BlockTimesOfRank::place_of(std::int64_t batch) const {
  const auto above = std::ranges::lower_bound(corners_, batch, {}, &Corner::batch);
  if (above->batch == batch) return {&*above, &*above, 0};
  const Corner& below = *std::prev(above);
  return {&below, &*above, static_cast<double>(batch - below.batch) / static_cast<double>(above->batch - below.batch)};
}

PassSeconds BlockTimesOfRank::seconds(BlockRange range, std::int64_t batch) const {
  const Place place = place_of(batch);
  const PassSeconds below = place.below->sums.of(range), above = place.above->sums.of(range);
  return {std::lerp(below.forward, above.forward, place.way), std::lerp(below.backward, above.backward, place.way)};
}

double BlockTimesOfRank::least_seconds_per_sample(std::size_t block) const {
  // On a straight line, seconds a sample are monotone.
  double least = std::numeric_limits<double>::infinity();
  for (const Corner& corner : corners_)
    least = std::min(least, corner.sums.of({block, block + 1}).both() / static_cast<double>(corner.batch));
  return least;
}

PassSums BlockTimesOfRank::sums(std::int64_t batch) const {
  const Place place = place_of(batch);
  PassSums sums = place.below->sums;
  for (std::size_t block = 0; block < sums.forward.size(); ++block) {
    sums.forward[block] = std::lerp(sums.forward[block], place.above->sums.forward[block], place.way);
    sums.backward[block] = std::lerp(sums.backward[block], place.above->sums.backward[block], place.way);
  }
  return sums;
}

RangeLargest::RangeLargest(std::vector<std::int64_t> values) {
  levels_.push_back(std::move(values));
  for (std::size_t length = 2; length <= levels_.front().size(); length *= 2) {
    const std::vector<std::int64_t>& halves = levels_.back();
    std::vector<std::int64_t> level;
    for (std::size_t i = 0; i + length <= levels_.front().size(); ++i)
      level.push_back(std::max(halves[i], halves[i + length / 2]));
    levels_.push_back(std::move(level));
  }
}

std::int64_t RangeLargest::of(BlockRange range) const {
  if (range.end <= range.start) return 0;
  const auto level = static_cast<std::size_t>(std::bit_width((range.end - range.start) / 2));
  const std::vector<std::int64_t>& largest = levels_[level];
  return std::max(largest[range.start], largest[range.end - (std::size_t{1} << level)]);
}

BlockCosts::BlockCosts(const Profile& profile, std::int64_t largest)
    : output_bytes_(figures(profile.blocks, &BlockProfile::output_bytes)),
      parameters_(sums_of(figures(profile.blocks, &BlockProfile::parameters))),
      frozen_bytes_(sums_of(figures(profile.blocks, &BlockProfile::frozen_bytes))),
      activation_bytes_(sums_of(figures(profile.blocks, &BlockProfile::activation_bytes))),
      read_bytes_(sums_of(read_by_each(output_bytes_))),
      largest_activation_(figures(profile.blocks, &BlockProfile::activation_bytes)),
      largest_output_(output_bytes_),
      largest_expanded_(figures(profile.blocks, &BlockProfile::expanded_bytes)) {
  for (RankProfile rank : profile.ranks) {
    rank.block_times = average_equal_blocks(profile.blocks, rank.block_times);
    times_.emplace_back(rank, profile.blocks.size(), largest);
  }
}

}  // namespace lshdp::plan
