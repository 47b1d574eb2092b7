// Ranks left out of a profile or repeated, and its network's times carried over to their number.
#include "lshdp/plan/other_ranks.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/plan/link_shares.h"

namespace lshdp::plan {
namespace {

constexpr std::int64_t kMaxRanks = 100'000;

/// The time of an all-reduce over `before` ranks (at least 2) on `after` of them, whose slowest link is `faster` times
/// as fast.
double carried_over(double seconds, double latency_seconds, double before, double after, double faster) {
  const double latency = std::min(seconds, 2 * (before - 1) * latency_seconds);
  return latency * (after - 1) / (before - 1) +
         (seconds - latency) * ((after - 1) / after) / ((before - 1) / before) / faster;
}

NetworkProfile carried_over(NetworkProfile network, std::size_t before, std::size_t after, double faster) {
  if (after < 2) return {};
  network.bytes_per_second *= faster;
  for (NetworkPoint& point : network.curve) {
    point.seconds = carried_over(point.seconds, network.latency_seconds, static_cast<double>(before),
                                 static_cast<double>(after), faster);
  }
  return network;
}

/// How many times as fast the slowest link is without those that are left out; 1 where links were not measured or are
/// alike.
double faster_without(const Profile& profile, const std::vector<std::size_t>& ranks) {
  const std::vector<double> links = relative_links(link_rates(profile));
  if (links.empty() || ranks.empty()) return 1;
  double slowest = links.at(ranks.front());
  for (const std::size_t rank : ranks) slowest = std::min(slowest, links.at(rank));
  return slowest / std::ranges::min(links);
}

}  // namespace

NetworkProfile network_of(const Profile& profile, const std::vector<std::size_t>& ranks) {
  return carried_over(profile.network, profile.ranks.size(), ranks.size(), faster_without(profile, ranks));
}

Profile on_other_ranks(const Profile& profile, const std::vector<std::size_t>& ranks) {
  const std::size_t before = profile.ranks.size(), after = ranks.size();
  if (before < 2 && after > 1) {
    throw UsageError("the profile is of one rank, whose network was not measured; profile two ranks or more");
  }
  Profile result = profile;
  result.network = network_of(profile, ranks);
  result.ranks.clear();
  for (const std::size_t rank : ranks) {
    result.ranks.push_back(profile.ranks.at(rank));
    result.ranks.back().rank = static_cast<int>(result.ranks.size()) - 1;
    result.ranks.back().update_seconds *= static_cast<double>(before) / static_cast<double>(after);
  }
  return result;
}

std::vector<ScalePoint> predict_scale(const Profile& profile, std::int64_t total, std::int64_t max_accumulation,
                                      const std::vector<std::int64_t>& numbers) {
  std::vector<ScalePoint> points;
  for (const std::int64_t number : numbers) {
    if (number < 1 || number > kMaxRanks) {
      throw UsageError(fmt::format("--scale: {} ranks; give numbers from 1 to {}", number, kMaxRanks));
    }
    std::vector<std::size_t> ranks;
    for (std::size_t i = 0; i < static_cast<std::size_t>(number); ++i) ranks.push_back(i % profile.ranks.size());
    const double share = static_cast<double>(number) / static_cast<double>(profile.ranks.size());
    const std::int64_t scaled = std::max<std::int64_t>(1, std::llround(static_cast<double>(total) * share));
    points.push_back(
        {number, solve(on_other_ranks(profile, ranks), {.total = scaled, .max_accumulation = max_accumulation}).plan});
  }
  return points;
}

}  // namespace lshdp::plan
