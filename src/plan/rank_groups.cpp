// Set partitions, and partitions by speed.
#include "rank_groups.h"

#include <algorithm>
#include <numeric>

namespace lshdp::plan {
namespace {

bool is_mixed(const RankGroups& groups) {
  return groups.size() > 1 && std::ranges::any_of(groups, [](const RankGroup& group) { return group.size() > 1; });
}

/// The ways for ranks from `at` on, the ones before being in `groups` or in none.
void extend(const std::vector<std::size_t>& ranks, std::size_t at, RankGroups& groups, std::vector<RankGroups>& all) {
  if (at == ranks.size()) {
    if (is_mixed(groups)) all.push_back(groups);
    return;
  }
  extend(ranks, at + 1, groups, all);
  for (std::size_t group = 0; group < groups.size(); ++group) {
    groups[group].push_back(ranks[at]);
    extend(ranks, at + 1, groups, all);
    groups[group].pop_back();
  }
  groups.push_back({ranks[at]});
  extend(ranks, at + 1, groups, all);
  groups.pop_back();
}

/// Each rank, the fastest first, to the group with the least speed so far.
RankGroups blended(const std::vector<std::size_t>& falling, std::size_t count,
                   const std::function<double(std::size_t)>& speed) {
  RankGroups groups(count);
  std::vector<double> sums(count, 0.0);
  for (const std::size_t rank : falling) {
    const auto least = static_cast<std::size_t>(std::ranges::min_element(sums) - sums.begin());
    groups[least].push_back(rank);
    sums[least] += speed(rank);
  }
  return groups;
}

/// Neighbours by speed, until a group has its share.
RankGroups sorted(const std::vector<std::size_t>& falling, std::size_t count,
                  const std::function<double(std::size_t)>& speed) {
  double left = 0;
  for (const std::size_t rank : falling) left += speed(rank);
  RankGroups groups{{}};
  double sum = 0;
  for (std::size_t i = 0; i < falling.size(); ++i) {
    const std::size_t groups_left = count - groups.size() + 1;
    groups.back().push_back(falling[i]);
    sum += speed(falling[i]);
    if (groups_left == 1 || sum < left / static_cast<double>(groups_left) * (1 - 1e-9)) continue;
    if (i + 1 < falling.size()) groups.emplace_back();
    left -= sum;
    sum = 0;
  }
  return groups;
}

}  // namespace

std::vector<RankGroups> all_groups(const std::vector<std::size_t>& ranks) {
  std::vector<RankGroups> all;
  RankGroups groups;
  extend(ranks, 0, groups, all);
  return all;
}

std::vector<RankGroups> even_groups(const std::vector<std::size_t>& ranks,
                                    const std::function<double(std::size_t)>& speed) {
  std::vector<std::size_t> falling = ranks;
  std::ranges::stable_sort(falling, std::greater{}, speed);
  std::vector<RankGroups> all;
  for (std::size_t count = 2; count < ranks.size(); count *= 2) {
    for (RankGroups groups : {blended(falling, count, speed), sorted(falling, count, speed)}) {
      for (RankGroup& group : groups) std::ranges::sort(group);
      if (is_mixed(groups)) all.push_back(std::move(groups));
    }
  }
  return all;
}

}  // namespace lshdp::plan
