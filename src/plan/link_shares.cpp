// Water filling over links, and what the shares that come out of it do to a step.
#include "lshdp/plan/link_shares.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

namespace lshdp::plan {
namespace {

constexpr double kAlike = 0.5;        // of the fastest of its kind: noise, and what a busy core makes of a link
constexpr double kSlowest = 1e-9;     // of the fastest: slower ones are as good as none
constexpr double kEqualShare = 1000;  // in weights

std::vector<double> shares_of(std::span<const std::int64_t> weights) {
  const auto sum = static_cast<double>(std::accumulate(weights.begin(), weights.end(), std::int64_t{0}));
  std::vector<double> shares;
  for (const std::int64_t weight : weights) shares.push_back(static_cast<double>(weight) / sum);
  return shares;
}

/// The longest time that one of the two halves of a transfer takes a link, V = 1.
double half_seconds(std::span<const double> rates, std::span<const double> shares) {
  const auto others = static_cast<double>(rates.size() - 1);
  double longest = 0;
  for (std::size_t r = 0; r < rates.size(); ++r)
    longest = std::max(longest, std::max(1 - shares[r], others * shares[r]) / rates[r]);
  return longest;
}

}  // namespace

std::vector<double> link_rates(const Profile& profile) {
  std::vector<double> rates;
  for (const RankProfile& rank : profile.ranks) rates.push_back(rank.link_bytes_per_second);
  return rates;
}

std::vector<double> relative_links(std::span<const double> bytes_per_second) {
  if (bytes_per_second.empty() || std::ranges::min(bytes_per_second) <= 0) return {};
  const double fastest = std::ranges::max(bytes_per_second);
  std::vector<std::size_t> order(bytes_per_second.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, std::greater{}, [&](std::size_t rank) { return bytes_per_second[rank]; });
  std::vector<double> relative(order.size());
  for (std::size_t first = 0, last = 0; first < order.size(); first = last) {
    double sum = 0;
    const double least = kAlike * bytes_per_second[order[first]];
    for (; last < order.size() && bytes_per_second[order[last]] >= least; ++last)
      sum += std::max(bytes_per_second[order[last]] / fastest, kSlowest);
    for (std::size_t i = first; i < last; ++i) relative[order[i]] = sum / static_cast<double>(last - first);
    if (first == 0 && last == order.size()) return {};
  }
  return relative;
}

std::vector<double> link_shares(std::span<const double> rates) {
  const std::size_t ranks = rates.size();
  if (ranks <= 2) return std::vector<double>(ranks, 1 / static_cast<double>(ranks));
  std::vector<double> falling(rates.begin(), rates.end());
  std::ranges::sort(falling, std::greater{});
  const auto twice = static_cast<double>(ranks - 2);
  double sum = 0, time = 0;
  for (std::size_t k = 1; k <= ranks; ++k) {
    sum += falling[k - 1];
    const double with_k = (twice + static_cast<double>(k)) / sum;
    if (with_k * falling[k - 1] <= 1) break;
    time = with_k;
  }
  std::vector<double> shares;
  for (const double rate : rates) shares.push_back(std::max(0.0, (time * rate - 1) / twice));
  return shares;
}

double link_seconds(std::span<const double> rates, std::span<const double> shares) {
  const double twice = static_cast<double>(rates.size()) - 2;
  double longest = 0;
  for (std::size_t r = 0; r < rates.size(); ++r) longest = std::max(longest, (1 + twice * shares[r]) / rates[r]);
  return longest;
}

ShardWeights weights_of(std::span<const double> shares) {
  ShardWeights weights;
  for (const double share : shares)
    weights.push_back(std::llround(share * static_cast<double>(shares.size()) * kEqualShare));
  return weights;
}

ShardWeights shard_weights(const Profile& profile) {
  if (!traits_of(profile.strategy.mode).weights_shards || profile.ranks.size() <= 2) return {};
  const std::vector<double> links = relative_links(link_rates(profile));
  return links.empty() ? ShardWeights() : weights_of(link_shares(links));
}

ShardEffect shard_effect(const Profile& profile, const ShardWeights& weights) {
  const std::size_t ranks = profile.ranks.size();
  ShardEffect effect{.traffic = std::vector<double>(ranks, 1), .update = std::vector<double>(ranks, 1)};
  if (weights.empty()) return effect;
  const std::vector<double> shares = shares_of(weights);
  std::vector<double> links = relative_links(link_rates(profile));
  if (links.empty()) links.assign(ranks, 1);
  const auto count = static_cast<double>(ranks);
  const std::vector<double> equal(ranks, 1 / count);
  effect.wire = link_seconds(links, shares) / link_seconds(links, equal);
  effect.boundary = half_seconds(links, shares) / half_seconds(links, equal);
  for (std::size_t r = 0; r < ranks; ++r) {
    effect.traffic[r] = (1 + (count - 2) * shares[r]) / (2 * (count - 1) / count);
    effect.update[r] = shares[r] * count;
  }
  return effect;
}

}  // namespace lshdp::plan
