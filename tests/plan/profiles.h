// Profiles that tests of the plan floor start from.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "lshdp/plan/profile.h"

namespace lshdp::plan::test {

/// A rank that holds up to `max_batch` samples and has this curve.
inline RankProfile make_rank(std::int64_t max_batch, std::vector<CurvePoint> curve) {
  RankProfile rank;
  rank.host = "node";
  rank.device = "cpu";
  rank.memory_bytes = 1 << 30;
  rank.max_batch = max_batch;
  rank.curve = std::move(curve);
  return rank;
}

/// A rank whose time is overhead + batch * per_sample.
inline RankProfile linear_rank(std::int64_t max_batch, double overhead, double per_sample) {
  std::vector<CurvePoint> curve{{1, overhead + per_sample}};
  if (max_batch > 1) curve.push_back({max_batch, overhead + per_sample * static_cast<double>(max_batch)});
  return make_rank(max_batch, std::move(curve));
}

/// A profile of these ranks without a network: transfers cost nothing.
inline Profile make_profile(std::vector<RankProfile> ranks) {
  Profile profile;
  profile.model = "mlp";
  profile.strategy.mode = Mode::ddp;
  profile.strategy.precision = Precision::fp32;
  profile.data_shape = {1, 28, 28};
  profile.ranks = std::move(ranks);
  for (std::size_t rank = 0; rank < profile.ranks.size(); ++rank) profile.ranks[rank].rank = static_cast<int>(rank);
  return profile;
}

/// The profile with a network of `bytes_per_second` and `bytes` of gradients and as many of parameters.
inline Profile with_network(Profile profile, double bytes_per_second, std::int64_t bytes) {
  profile.network.bytes_per_second = bytes_per_second;
  profile.gradient_bytes = profile.parameter_bytes = bytes;
  return profile;
}

/// An ideal ring: 1 ms of latency a hop, 100 MB/s.
inline double ring_seconds(std::size_t ranks, double bytes) {
  const auto n = static_cast<double>(ranks);
  return 2 * (n - 1) * 1e-3 + 2 * (n - 1) / n * bytes / 1e8;
}

/// The profile of `ranks` on it, with `bytes` of gradients and as many of parameters.
inline Profile on_ring(std::vector<RankProfile> ranks, std::int64_t bytes) {
  Profile profile = with_network(make_profile(std::move(ranks)), 1e8, bytes);
  profile.network.latency_seconds = 1e-3;
  for (std::int64_t size = 4096; size < 4 * bytes; size *= 4) {
    profile.network.curve.push_back({size, ring_seconds(profile.ranks.size(), static_cast<double>(size))});
  }
  return profile;
}

}  // namespace lshdp::plan::test
