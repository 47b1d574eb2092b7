// The network's part of a step, from the measured all-reduce curve.
#include "step_model.h"

#include <algorithm>
#include <cmath>

#include "lshdp/plan/link_shares.h"

namespace lshdp::plan {
namespace {

constexpr double kWorthUnequalShards = 1.01;  // the step with equal ones over that with unequal ones

/// Bytes each rank sends (and receives) in one reduce-scatter or all-gather of `bytes`.
double ring_bytes(std::size_t ranks, double bytes) {
  return bytes * static_cast<double>(ranks - 1) / static_cast<double>(ranks);
}

/// The measured points with times that never fall as sizes grow.
std::vector<NetworkPoint> monotone(std::vector<NetworkPoint> curve) {
  for (std::size_t i = 1; i < curve.size(); ++i) curve[i].seconds = std::max(curve[i].seconds, curve[i - 1].seconds);
  return curve;
}

double interpolate(const std::vector<NetworkPoint>& curve, std::int64_t bytes) {
  const auto above =
      std::lower_bound(curve.begin(), curve.end(), bytes,
                       [](const NetworkPoint& point, std::int64_t value) { return point.bytes < value; });
  if (above == curve.begin()) return above->seconds;
  const NetworkPoint& below = *std::prev(above);
  const double way = static_cast<double>(bytes - below.bytes) / static_cast<double>(above->bytes - below.bytes);
  return std::lerp(below.seconds, above->seconds, way);
}

}  // namespace

double all_reduce_seconds(const NetworkProfile& network, std::size_t ranks, std::int64_t bytes) {
  if (ranks < 2 || bytes == 0 || network.bytes_per_second <= 0) return 0;
  const std::vector<NetworkPoint> curve = monotone(network.curve);
  if (!curve.empty() && bytes <= curve.back().bytes) return interpolate(curve, bytes);
  const NetworkPoint measured = curve.empty() ? NetworkPoint{} : curve.back();
  const auto rest = static_cast<double>(bytes - measured.bytes);
  return measured.seconds + 2 * ring_bytes(ranks, rest) / network.bytes_per_second;
}

bool worth_unequal_shards(double unequal_step_seconds, double equal_step_seconds) {
  return equal_step_seconds >= kWorthUnequalShards * unequal_step_seconds;
}

std::vector<double> moved_bytes(const Profile& profile, const ShardWeights& shards) {
  std::vector<double> moved;
  const auto both_ways = static_cast<double>(profile.gradient_bytes + profile.parameter_bytes);
  for (const double traffic : shard_effect(profile, shards).traffic)
    moved.push_back(profile.network.bytes_per_second > 0 ? 2 * ring_bytes(profile.ranks.size(), both_ways) * traffic
                                                         : 0);
  return moved;
}

StepModel::StepModel(const Profile& profile, const ShardWeights& shards) {
  const std::size_t ranks = profile.ranks.size();
  const NetworkProfile& network = profile.network;
  const std::int64_t mean_bytes = profile.gradient_bytes / 2 + profile.parameter_bytes / 2;
  const ShardEffect effect = shard_effect(profile, shards);
  every_pass = traits_of(profile.strategy.mode).gathers_every_pass;
  wire_seconds = effect.wire * all_reduce_seconds(network, ranks, mean_bytes);
  exposed_seconds =
      effect.boundary * network.exposed_factor * all_reduce_seconds(network, ranks, profile.exposed_bytes);
  const std::vector<double> moved = moved_bytes(profile, shards);
  for (std::size_t r = 0; r < ranks; ++r) {
    const RankProfile& rank = profile.ranks[r];
    const double transfers = rank.device == "cpu" ? network.cpu_seconds_per_byte * moved[r] / rank.cores : 0;
    update_seconds.push_back(rank.update_seconds * effect.update[r]);
    fixed_seconds.push_back(update_seconds.back() + transfers);
  }
}

double StepModel::step_seconds(double slowest_rank_seconds) const {
  return std::max(slowest_rank_seconds, wire_seconds) + exposed_seconds;
}

}  // namespace lshdp::plan
