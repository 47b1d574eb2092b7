// Levels of ranks against the shape their curves have in common, groups of near ones, and the groups' curves.
#include "lshdp/plan/alike_ranks.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "block_costs.h"
#include "lshdp/core/median.h"
#include "time_curve.h"

namespace lshdp::plan {
namespace {

// Equal ranks measured up to 12 % apart in what their larger batches take over their smaller ones, and 2 % in cores.
constexpr double kSameShape = 0.15, kSameCores = 0.1;
constexpr std::size_t kNeighbours = 8;  // ranks of nearest level that one is compared with
constexpr std::size_t kMaxGroups = 8, kMaxRanks = 8;

using Sizes = std::vector<std::int64_t>;

/// 1, 2, 3, 4, 6, 8, 12, ..: the sizes at which curves are compared.
Sizes sizes_up_to(std::int64_t largest) {
  Sizes sizes;
  for (std::int64_t size = 1; size <= largest; size *= 2) {
    sizes.push_back(size);
    if (size > 1 && size / 2 * 3 <= largest) sizes.push_back(size / 2 * 3);
  }
  return sizes;
}

/// A rank's curve, and the logarithm of its time for a micro-batch and the update at each size it holds.
struct Measured {
  std::size_t rank;
  TimeCurve curve;
  std::vector<double> log_seconds;
};

Measured measured(const RankProfile& profile, std::size_t rank) {
  Measured result{rank, TimeCurve(profile), {}};
  for (const std::int64_t size : sizes_up_to(result.curve.measured_to()))
    result.log_seconds.push_back(std::log(result.curve.seconds(size) + profile.update_seconds));
  return result;
}

/// What curves have in common: how the logarithm rises from size to size, in the median of the ranks that hold both.
/// Levels cancel, so it does not matter that only some ranks hold large batches.
std::vector<double> common_shape(const std::vector<Measured>& ranks) {
  std::vector<double> shape{0};
  while (true) {
    std::vector<double> rises;
    for (const Measured& rank : ranks) {
      const std::vector<double>& seconds = rank.log_seconds;
      if (seconds.size() > shape.size()) rises.push_back(seconds[shape.size()] - seconds[shape.size() - 1]);
    }
    if (rises.empty()) return shape;
    shape.push_back(shape.back() + median(std::move(rises)));
  }
}

struct Range {
  double low, high;
  double width() const { return high - low; }
};

Range joined(Range a, Range b) { return {std::min(a.low, b.low), std::max(a.high, b.high)}; }

/// Ranks of one group, by index of Measured, and between what their logarithms lie.
struct Group {
  std::vector<std::size_t> members;
  Range level, drift, cores;  // drift: of the larger sizes over the smaller ones, against the common shape

  bool alike() const {
    return level.width() <= std::log1p(kAlike) && drift.width() <= kSameShape && cores.width() <= kSameCores;
  }
};

Group joined(const Group& a, const Group& b) {
  return {{}, joined(a.level, b.level), joined(a.drift, b.drift), joined(a.cores, b.cores)};
}

Group group_of_one(const Measured& rank, std::size_t index, const RankProfile& profile,
                   const std::vector<double>& shape) {
  std::vector<double> over;
  for (std::size_t i = 0; i < rank.log_seconds.size(); ++i) over.push_back(rank.log_seconds[i] - shape[i]);
  const auto half = static_cast<std::ptrdiff_t>(over.size() / 2);
  const double drift =
      half == 0 ? 0 : median({over.end() - half, over.end()}) - median({over.begin(), over.begin() + half});
  // Where computing has a device of its own, the host's cores are not what a rank's speed depends on.
  const double cores = profile.device == "cpu" ? std::log(profile.cores) : 0;
  const double level = median(std::move(over));
  return {{index}, {level, level}, {drift, drift}, {cores, cores}};
}

/// Joins groups, the nearest ranks first, as long as all of a group are alike.
std::vector<Group> joined_groups(std::vector<Group> groups) {
  std::ranges::stable_sort(groups, {}, [](const Group& one) { return one.level.low; });
  std::vector<std::tuple<double, std::size_t, std::size_t>> pairs;
  std::vector<std::size_t> place(groups.size());
  for (std::size_t i = 0; i < groups.size(); ++i) {
    place[groups[i].members.front()] = i;
    for (std::size_t j = i + 1; j < groups.size() && j <= i + kNeighbours; ++j)
      pairs.emplace_back(groups[j].level.low - groups[i].level.low, groups[i].members.front(),
                         groups[j].members.front());
  }
  std::ranges::sort(pairs);
  for (const auto& [gap, one, other] : pairs) {
    std::size_t into = place[one], from = place[other];
    if (into == from) continue;
    if (groups[into].members.size() < groups[from].members.size()) std::swap(into, from);
    Group both = joined(groups[into], groups[from]);
    if (!both.alike()) continue;
    both.members = std::move(groups[into].members);
    for (const std::size_t member : groups[from].members) {
      place[member] = into;
      both.members.push_back(member);
    }
    groups[from].members.clear();
    groups[into] = std::move(both);
  }
  std::erase_if(groups, [](const Group& group) { return group.members.empty(); });
  for (Group& group : groups) std::ranges::sort(group.members);
  return groups;
}

/// The geometric mean of the group's curves, at each size of those that hold it. `levels` by member.
std::vector<CurvePoint> common_curve(const std::vector<const Measured*>& members, const std::vector<double>& levels) {
  std::set<std::int64_t> sizes;
  double mean_level = 0;
  for (std::size_t i = 0; i < members.size(); ++i) {
    for (const CurvePoint& corner : members[i]->curve.corners()) {
      if (corner.batch <= members[i]->curve.measured_to()) sizes.insert(corner.batch);
    }
    mean_level += levels[i] / static_cast<double>(members.size());
  }
  std::vector<CurvePoint> curve;
  for (const std::int64_t size : sizes) {
    double sum = 0, count = 0;
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (members[i]->curve.measured_to() < size) continue;
      sum += std::log(members[i]->curve.seconds(size)) - levels[i];
      ++count;
    }
    curve.push_back({size, std::max(std::exp(mean_level + sum / count), std::numeric_limits<double>::min())});
  }
  return curve;
}

/// Each block's part of the time at each size that a member was timed with: the mean of those that were.
std::vector<BlockTimes> common_parts(const Profile& profile, const std::vector<const Measured*>& members) {
  std::map<std::int64_t, std::vector<const BlockTimes*>> by_size;
  for (const Measured* member : members) {
    for (const BlockTimes& times : profile.ranks[member->rank].block_times) {
      if (seconds_of(times) > 0) by_size[times.batch].push_back(&times);
    }
  }
  std::vector<BlockTimes> parts;
  for (const auto& [size, measured] : by_size) {
    BlockTimes mean{size, std::vector<double>(profile.blocks.size()), std::vector<double>(profile.blocks.size())};
    for (const BlockTimes* times : measured) {
      const double sum = seconds_of(*times);
      for (std::size_t block = 0; block < profile.blocks.size(); ++block) {
        mean.forward[block] += times->forward[block] / sum / static_cast<double>(measured.size());
        mean.backward[block] += times->backward[block] / sum / static_cast<double>(measured.size());
      }
    }
    parts.push_back(std::move(mean));
  }
  return parts;
}

/// Scaled so that the blocks add up to the curve.
std::vector<BlockTimes> scaled(std::vector<BlockTimes> parts, const RankProfile& rank) {
  std::erase_if(parts, [&](const BlockTimes& part) { return part.batch > rank.max_batch; });
  const TimeCurve curve(rank);
  for (BlockTimes& part : parts) {
    for (double& seconds : part.forward) seconds *= curve.seconds(part.batch);
    for (double& seconds : part.backward) seconds *= curve.seconds(part.batch);
  }
  return parts;
}

bool same_figures(const RankProfile& a, const RankProfile& b) {
  return a.update_seconds == b.update_seconds && a.cores == b.cores &&
         std::ranges::equal(a.curve, b.curve, [](const CurvePoint& one, const CurvePoint& other) {
           return one.batch == other.batch && one.seconds == other.seconds;
         });
}

/// Gives the ranks of a group one curve.
void make_equal(Profile& profile, const std::vector<const Measured*>& members, const std::vector<double>& levels) {
  double update = 0, log_cores = 0;
  for (const Measured* member : members) {
    update += profile.ranks[member->rank].update_seconds / static_cast<double>(members.size());
    log_cores += std::log(profile.ranks[member->rank].cores) / static_cast<double>(members.size());
  }
  const std::vector<CurvePoint> curve = common_curve(members, levels);
  const std::vector<BlockTimes> parts = common_parts(profile, members);
  for (const Measured* member : members) {
    RankProfile& rank = profile.ranks[member->rank];
    rank.update_seconds = update;
    rank.cores = std::exp(log_cores);
    rank.curve = curve;
    std::erase_if(rank.curve, [&](const CurvePoint& point) { return point.batch > rank.max_batch; });
    rank.block_times = scaled(parts, rank);
  }
}

/// Pools ranks of one kind.
void pool(PooledProfile& pooled, const std::vector<std::size_t>& kind) {
  std::vector<Measured> ranks;
  for (const std::size_t rank : kind) ranks.push_back(measured(pooled.profile.ranks[rank], rank));
  const std::vector<double> shape = common_shape(ranks);
  std::vector<Group> ones;
  for (std::size_t i = 0; i < ranks.size(); ++i)
    ones.push_back(group_of_one(ranks[i], i, pooled.profile.ranks[kind[i]], shape));
  for (const Group& group : joined_groups(ones)) {
    std::vector<const Measured*> members;
    std::vector<double> levels;
    AlikeRanks alike{{}, std::expm1(group.level.width())};
    for (const std::size_t member : group.members) {
      members.push_back(&ranks[member]);
      levels.push_back(ones[member].level.low);
      alike.ranks.push_back(kind[member]);
    }
    const RankProfile& first = pooled.profile.ranks[kind[group.members.front()]];
    if (std::ranges::all_of(alike.ranks, [&](std::size_t r) { return same_figures(pooled.profile.ranks[r], first); }))
      continue;
    make_equal(pooled.profile, members, levels);
    pooled.alike.push_back(std::move(alike));
  }
}

/// "0 and 1", "0, 2 and 3", "0, 1, .. 7 and 12 more".
std::string list_of(const std::vector<std::size_t>& ranks) {
  const bool all = ranks.size() <= kMaxRanks;
  const auto shown = static_cast<std::ptrdiff_t>(all ? ranks.size() - 1 : kMaxRanks);
  return fmt::format("{} and {}", fmt::join(ranks.begin(), ranks.begin() + shown, ", "),
                     all ? std::to_string(ranks.back()) : fmt::format("{} more", ranks.size() - kMaxRanks));
}

}  // namespace

PooledProfile pool_alike_ranks(Profile profile) {
  PooledProfile pooled{std::move(profile), {}};
  std::map<std::pair<std::string, double>, std::vector<std::size_t>> kinds;
  for (std::size_t r = 0; r < pooled.profile.ranks.size(); ++r) {
    const RankProfile& rank = pooled.profile.ranks[r];
    if (rank.max_batch < 1 || rank.curve.empty()) continue;
    kinds[{rank.device.substr(0, rank.device.find(':')), rank.speed}].push_back(r);
  }
  for (const auto& [kind, ranks] : kinds) pool(pooled, ranks);
  std::ranges::sort(pooled.alike, {}, [](const AlikeRanks& alike) { return alike.ranks.front(); });
  return pooled;
}

std::vector<std::string> describe(const std::vector<AlikeRanks>& alike) {
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < std::min(alike.size(), kMaxGroups); ++i)
    lines.push_back(fmt::format("Ranks {} measured alike ({:.1f} % apart): planned as equal.", list_of(alike[i].ranks),
                                100 * alike[i].apart));
  if (alike.size() > kMaxGroups)
    lines.push_back(fmt::format(".. and {} more groups of ranks that measured alike.", alike.size() - kMaxGroups));
  return lines;
}

}  // namespace lshdp::plan
