// Profiles of models by blocks, which layouts are planned from.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "plan/profiles.h"

namespace lshdp::plan::test {

/// A model of blocks that are alike, unless a test changes one.
struct BlockModel {
  std::size_t blocks = 0;
  std::int64_t parameters = 1000, activation_bytes = 400, output_bytes = 100;  // of a block
};

/// A rank that computes `weight` of block i in weight / speed seconds a sample, a third of it forward, after `overhead`
/// seconds a micro-batch. Weights add up to 1.
inline RankProfile rank_of_speed(double speed, const std::vector<double>& weights, double overhead = 0,
                                 std::int64_t largest = 64) {
  RankProfile rank = linear_rank(largest, overhead, 1 / speed);
  for (const CurvePoint& point : rank.curve) {
    BlockTimes times{.batch = point.batch, .forward = {}, .backward = {}};
    for (const double weight : weights) {
      times.forward.push_back(point.seconds * weight / 3);
      times.backward.push_back(point.seconds * weight * 2 / 3);
    }
    rank.block_times.push_back(std::move(times));
  }
  rank.memory_bytes = std::int64_t{1} << 50;
  return rank;
}

inline std::vector<double> equal_weights(std::size_t blocks) {
  return std::vector<double>(blocks, 1 / static_cast<double>(blocks));
}

/// Ranks of these speeds, in samples a second, over a network of `bytes_per_second` without latency (0: none).
inline Profile cluster_of(const std::vector<double>& speeds, const BlockModel& model, double bytes_per_second) {
  std::vector<RankProfile> ranks;
  for (const double speed : speeds) ranks.push_back(rank_of_speed(speed, equal_weights(model.blocks)));
  Profile profile = make_profile(std::move(ranks));
  for (std::size_t block = 0; block < model.blocks; ++block)
    profile.blocks.push_back({"block", model.parameters, model.activation_bytes, model.output_bytes});
  profile.parameter_count = model.parameters * static_cast<std::int64_t>(model.blocks);
  profile.gradient_bytes = profile.parameter_bytes = 4 * profile.parameter_count;
  profile.exposed_bytes = 4 * model.parameters;
  profile.network.bytes_per_second = bytes_per_second;
  return profile;
}

}  // namespace lshdp::plan::test
