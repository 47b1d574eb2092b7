// The batch solver on subsets of the ranks.
#include "data_layouts.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>
#include <utility>

#include "lshdp/core/error.h"
#include "lshdp/plan/other_ranks.h"
#include "lshdp/plan/solver.h"
#include "time_curve.h"

namespace lshdp::plan {
namespace {

using RankList = std::vector<std::size_t>;

constexpr std::size_t kAllSubsets = 8;     // ranks
constexpr std::size_t kMostPrefixes = 24;  // of the fastest ranks, beyond

RankList able_ranks(const Profile& profile) {
  RankList ranks;
  for (std::size_t rank = 0; rank < profile.ranks.size(); ++rank) {
    if (!profile.ranks[rank].curve.empty() && profile.ranks[rank].max_batch > 0) ranks.push_back(rank);
  }
  return ranks;
}

std::set<RankList> all_subsets(const RankList& ranks) {
  std::set<RankList> subsets;
  for (std::size_t set = 1; set < std::size_t{1} << ranks.size(); ++set) {
    RankList subset;
    for (std::size_t at = 0; at < ranks.size(); ++at) {
      if (set >> at & 1) subset.push_back(ranks[at]);
    }
    subsets.insert(std::move(subset));
  }
  return subsets;
}

/// The first ones of `ranks` by `figure`, of about kMostPrefixes lengths.
void add_prefixes(std::set<RankList>& subsets, RankList ranks, const std::function<double(std::size_t)>& figure) {
  std::ranges::stable_sort(ranks, std::greater{}, figure);
  const std::size_t step = std::max<std::size_t>(1, ranks.size() / kMostPrefixes);
  for (std::size_t length = ranks.size(); length > 0; length -= std::min(length, step)) {
    RankList prefix(ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(length));
    std::ranges::sort(prefix);
    subsets.insert(std::move(prefix));
  }
}

std::set<RankList> some_subsets(const Profile& profile, const RankList& ranks) {
  std::set<RankList> subsets;
  add_prefixes(subsets, ranks,
               [&](std::size_t rank) { return TimeCurve(profile.ranks[rank]).best_samples_per_second(); });
  add_prefixes(subsets, ranks, [&](std::size_t rank) { return profile.ranks[rank].link_bytes_per_second; });
  for (const std::size_t rank : ranks) subsets.insert({rank});
  return subsets;
}

Layout layout_of(const Plan& plan, const RankList& ranks, std::size_t blocks) {
  Layout layout{.blocks = blocks};
  for (const RankPlan& of : plan.ranks) {
    if (of.batch == 0) continue;
    const auto rank = static_cast<std::int64_t>(ranks[static_cast<std::size_t>(of.rank)]);
    layout.replicas.push_back({.batch = of.batch,
                               .micro_batches = of.micro_batches,
                               .stages = {{.rank = rank, .start = 0, .end = blocks, .in_flight = 1}}});
  }
  return layout;
}

bool is_everyone(const Profile& profile, const RankList& ranks) { return ranks.size() == profile.ranks.size(); }

/// On these ranks alone; none where they get no samples all, since the layout is then that of others.
std::optional<DataLayout> solved(const Profile& profile, const RankList& ranks, std::int64_t total) {
  const Plan plan =
      solve(is_everyone(profile, ranks) ? profile : on_other_ranks(profile, ranks), {.total = total}).plan;
  if (std::ranges::any_of(plan.ranks, [](const RankPlan& rank) { return rank.batch == 0; })) return std::nullopt;
  return DataLayout{layout_of(plan, ranks, profile.blocks.size()), plan.predicted.step_seconds};
}

/// Those of `ranks` that get samples where all of them run.
RankList busy_ranks(const Profile& profile, const RankList& ranks, std::int64_t total) {
  RankList busy;
  for (const RankPlan& rank : solve(on_other_ranks(profile, ranks), {.total = total}).plan.ranks) {
    if (rank.batch > 0) busy.push_back(ranks[static_cast<std::size_t>(rank.rank)]);
  }
  return busy;
}

}  // namespace

DataLayouts data_layouts(const Profile& profile, std::int64_t total) {
  DataLayouts layouts{.best = {}, .least_with = std::vector<double>(profile.ranks.size(), 0.0)};
  const RankList able = able_ranks(profile);
  if (able.empty()) return layouts;
  std::set<RankList> subsets = able.size() <= kAllSubsets ? all_subsets(able) : some_subsets(profile, able);
  if (able.size() > kAllSubsets) subsets.insert(busy_ranks(profile, able, total));
  for (const RankList& ranks : subsets) {
    if (static_cast<std::int64_t>(ranks.size()) > total) continue;
    std::optional<DataLayout> layout = solved(profile, ranks, total);
    if (!layout) continue;
    for (const std::size_t rank : ranks) {
      double& least = layouts.least_with[rank];
      least = least == 0 ? layout->seconds : std::min(least, layout->seconds);
    }
    if (!layouts.best || layout->seconds < layouts.best->seconds) layouts.best = std::move(layout);
  }
  return layouts;
}

}  // namespace lshdp::plan
