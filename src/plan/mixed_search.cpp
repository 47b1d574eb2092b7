// Groups of ranks, their pipelines, their shares of the batch.
#include "mixed_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "in_flight.h"
#include "lshdp/plan/other_ranks.h"
#include "pipeline_seeds.h"
#include "rank_groups.h"
#include "step_model.h"

namespace lshdp::plan {
namespace {

using Shares = std::vector<std::int64_t>;  // by group

constexpr std::size_t kAllGroups = 6;                 // ranks
constexpr std::size_t kRefined = 8, kFewRefined = 3;  // ways to group few and many ranks whose shares are moved
constexpr std::size_t kMostPipelines = 500;  // of a group that are all tried, and of all groups together in one share
constexpr std::int64_t kMostTried = 100'000;
constexpr double kLowEffort = 0.01, kLastEffort = 0.1;  // for each group, and in the end for those of the best layout
constexpr std::int64_t kMoreCounts = 8;                 // numbers of micro-batches of a rank alone, beyond the least

/// The total in proportion to `speeds`, at least 1 each.
Shares shares_of(std::int64_t total, const std::vector<double>& speeds) {
  const double each = static_cast<double>(total) / std::accumulate(speeds.begin(), speeds.end(), 0.0);
  Shares shares;
  for (const double speed : speeds) shares.push_back(std::max<std::int64_t>(1, std::llround(speed * each)));
  for (std::int64_t left = total - std::accumulate(shares.begin(), shares.end(), std::int64_t{0}); left != 0;) {
    const std::int64_t by = left > 0 ? 1 : -1;
    std::size_t next = 0;
    double most = -std::numeric_limits<double>::infinity();
    for (std::size_t group = 0; group < speeds.size(); ++group) {
      const double missing = static_cast<double>(by) * (speeds[group] * each - static_cast<double>(shares[group]));
      if (shares[group] + by < 1 || missing <= most) continue;
      most = missing;
      next = group;
    }
    shares[next] += by;
    left -= by;
  }
  return shares;
}

/// All ways to share `total` among `groups`, at least 1 each; nothing if there are more than `most`.
std::vector<Shares> all_shares(std::int64_t total, std::size_t groups, std::size_t most) {
  std::vector<Shares> all{{}};
  for (std::size_t group = 0; group < groups; ++group) {
    std::vector<Shares> longer;
    for (const Shares& shares : all) {
      const std::int64_t left = total - std::accumulate(shares.begin(), shares.end(), std::int64_t{0});
      const auto others = static_cast<std::int64_t>(groups - group) - 1;
      for (std::int64_t share = others == 0 ? left : 1; share <= left - others; ++share) {
        longer.push_back(shares);
        longer.back().push_back(share);
        if (longer.size() > most) return {};
      }
    }
    all = std::move(longer);
  }
  return all;
}

}  // namespace

class MixedSearch::Run {
 public:
  Run(MixedSearch& search, const MixedTask& task)
      : search_(search),
        cost_(search.cost_),
        task_(task),
        few_(task.ranks.size() <= kAllGroups),
        seconds_(task.to_beat) {}

  std::optional<MixedLayout> best() {
    std::vector<Attempt> attempts;
    for (const RankGroups& groups : ways()) {
      if (static_cast<std::int64_t>(groups.size()) > task_.total || least_seconds(groups) >= seconds_) continue;
      if (try_all(groups)) continue;
      if (std::optional<Attempt> attempt = first_attempt(groups)) attempts.push_back(std::move(*attempt));
    }
    std::ranges::stable_sort(attempts, {}, &Attempt::seconds);
    attempts.resize(std::min(attempts.size(), few_ ? kRefined : kFewRefined));
    for (Attempt& attempt : attempts) improve(attempt);
    const auto least = std::ranges::min_element(attempts, {}, &Attempt::seconds);
    if (least != attempts.end()) attempt_with(least->groups, least->shares, kLastEffort);
    return std::move(best_);
  }

 private:
  struct Attempt {
    RankGroups groups;
    Shares shares;
    std::vector<const RatedReplica*> replicas;  // of cache_
    double seconds = 0;
  };

  std::vector<RankGroups> ways() const {
    if (few_) return all_groups(task_.ranks);
    return even_groups(task_.ranks, [this](std::size_t rank) { return cost_.samples_per_second(rank); });
  }

  double speed_of(const RankGroup& group) const {
    double speed = 0;
    for (const std::size_t rank : group) speed += cost_.samples_per_second(rank);
    return speed;
  }

  /// From below: computing without loss, and the exchange of a rank of the smallest group, one of which holds at least
  /// its part of the model.
  double least_seconds(const RankGroups& groups) const {
    double speed = 0;
    std::size_t smallest = std::numeric_limits<std::size_t>::max();
    RankGroup firsts;
    for (const RankGroup& group : groups) {
      speed += speed_of(group);
      smallest = std::min(smallest, group.size());
      firsts.push_back(group.front());
    }
    const Profile& profile = cost_.profile();
    const std::int64_t bytes =
        (profile.gradient_bytes / 2 + profile.parameter_bytes / 2) / static_cast<std::int64_t>(smallest);
    const NetworkProfile network = network_of(profile, firsts);
    const auto others = static_cast<double>(groups.size() - 1) / static_cast<double>(groups.size());
    const double exchange = network.bytes_per_second > 0
                                ? kWireSlack * 2 * others * static_cast<double>(bytes) / network.bytes_per_second
                                : 0;
    return std::max(kSpeedSlack * static_cast<double>(task_.total) / speed, exchange);
  }

  /// Whether it was not too much.
  bool try_all(const RankGroups& groups) {
    const std::vector<Shares> shares = all_shares(task_.total, groups.size(), kMostPipelines);
    if (shares.empty()) return false;
    std::map<std::pair<std::size_t, std::int64_t>, std::vector<RatedReplica>> pipelines;  // by group and share
    std::int64_t combinations = 0;
    for (const Shares& share : shares) {
      std::int64_t ways = 1;
      for (std::size_t group = 0; group < groups.size(); ++group) {
        auto found = pipelines.find({group, share[group]});
        if (found == pipelines.end()) {
          auto all = all_replicas(groups[group], share[group], groups.size());
          if (!all) return false;
          found = pipelines.emplace(std::pair(group, share[group]), std::move(*all)).first;
        }
        ways *= static_cast<std::int64_t>(found->second.size());
      }
      combinations += ways;
      if (combinations > kMostTried) return false;
    }
    for (const Shares& share : shares) {
      std::vector<const std::vector<RatedReplica>*> lists;
      for (std::size_t group = 0; group < groups.size(); ++group) lists.push_back(&pipelines.at({group, share[group]}));
      std::vector<const RatedReplica*> chosen;
      combine(lists, chosen);
    }
    return true;
  }

  void combine(const std::vector<const std::vector<RatedReplica>*>& lists, std::vector<const RatedReplica*>& chosen) {
    if (chosen.size() == lists.size()) {
      consider(chosen);
      return;
    }
    for (const RatedReplica& replica : *lists[chosen.size()]) {
      chosen.push_back(&replica);
      combine(lists, chosen);
      chosen.pop_back();
    }
  }

  std::optional<std::vector<RatedReplica>> all_replicas(const RankGroup& group, std::int64_t batch,
                                                        std::size_t holders) {
    if (group.size() == 1) return alone(group.front(), batch, batch);
    return search_.pipelines_.all(task_of(group, batch, holders), kMostPipelines);
  }

  static PipelineTask task_of(const RankGroup& group, std::int64_t batch, std::size_t holders) {
    return {.ranks = group, .batch = batch, .holders = holders, .all_ranks = true};
  }

  /// The whole model on one rank, cut into the least number of micro-batches up to `more` beyond.
  std::vector<RatedReplica> alone(std::size_t rank, std::int64_t batch, std::int64_t more) const {
    std::vector<RatedReplica> rated;
    const std::int64_t most = cost_.profile().ranks[rank].max_batch;
    if (most == 0) return {};
    const std::int64_t least = (batch + most - 1) / most;
    for (std::int64_t count = least; count <= std::min({batch, least + more, kMostMicroBatches}); ++count) {
      Replica replica{
          .batch = batch,
          .micro_batches = in_training_order(near_equal(batch, count)),
          .stages = {
              {.rank = static_cast<std::int64_t>(rank), .start = 0, .end = cost_.blocks().blocks(), .in_flight = 1}}};
      ReplicaStep step = cost_.step(replica, search_.schedule_);
      const double seconds = step.seconds;
      rated.push_back({std::move(replica), std::move(step), seconds});
    }
    return rated;
  }

  /// The fastest one of a group; null: none fits.
  const RatedReplica* replica_for(const RankGroup& group, std::int64_t batch, std::size_t holders, double effort) {
    const auto key = std::tuple(group, batch, holders, effort);
    const auto known = cache_.find(key);
    if (known != cache_.end()) return known->second ? &*known->second : nullptr;
    std::optional<RatedReplica> found;
    if (group.size() == 1) {
      std::vector<RatedReplica> all = alone(group.front(), batch, kMoreCounts);
      if (!all.empty()) found = std::move(*std::ranges::min_element(all, {}, &RatedReplica::seconds));
    } else {
      PipelineTask task = task_of(group, batch, holders);
      task.effort = effort;
      found = search_.pipelines_.best(task);
    }
    auto& kept = cache_.emplace(key, std::move(found)).first->second;
    return kept ? &*kept : nullptr;
  }

  /// The whole step; and the best one is kept.
  double consider(const std::vector<const RatedReplica*>& replicas) {
    Layout layout{.blocks = cost_.blocks().blocks(), .schedule = search_.schedule_};
    std::vector<ReplicaStep> steps;
    for (const RatedReplica* replica : replicas) {
      layout.replicas.push_back(replica->replica);
      steps.push_back(replica->step);
    }
    const double seconds = pipeline_step(cost_, layout, steps).seconds;
    search_.note(layout, seconds);
    if (seconds < seconds_) {
      seconds_ = seconds;
      best_ = MixedLayout{std::move(layout), seconds};
    }
    return seconds;
  }

  std::optional<Attempt> attempt_with(RankGroups groups, Shares shares, double effort = kLowEffort) {
    Attempt attempt{std::move(groups), std::move(shares), {}, 0};
    for (std::size_t group = 0; group < attempt.groups.size(); ++group) {
      attempt.replicas.push_back(
          replica_for(attempt.groups[group], attempt.shares[group], attempt.groups.size(), effort));
      if (attempt.replicas.back() == nullptr) return std::nullopt;
    }
    attempt.seconds = consider(attempt.replicas);
    return attempt;
  }

  std::optional<Attempt> first_attempt(const RankGroups& groups) {
    std::vector<double> speeds;
    for (const RankGroup& group : groups) speeds.push_back(speed_of(group));
    return attempt_with(groups, shares_of(task_.total, speeds));
  }

  /// Samples move from the slowest replica to the fastest one, fewer and fewer of them.
  void improve(Attempt& attempt) {
    for (std::int64_t by = std::max<std::int64_t>(1, task_.total / 16); by > 0;) {
      const auto slow = std::ranges::max_element(attempt.replicas, {}, &RatedReplica::seconds);
      const auto fast = std::ranges::min_element(attempt.replicas, {}, &RatedReplica::seconds);
      Shares shares = attempt.shares;
      shares[static_cast<std::size_t>(slow - attempt.replicas.begin())] -= by;
      shares[static_cast<std::size_t>(fast - attempt.replicas.begin())] += by;
      std::optional<Attempt> other;
      if (std::ranges::min(shares) > 0) other = attempt_with(attempt.groups, std::move(shares));
      if (other && other->seconds < attempt.seconds) {
        attempt = std::move(*other);
      } else {
        by /= 2;
      }
    }
  }

  static constexpr double kWireSlack = 0.9;    // measured all-reduces may be faster than the rate says
  static constexpr double kSpeedSlack = 0.98;  // ranks differ in which blocks they are best at

  MixedSearch& search_;
  const PipelineCost& cost_;
  const MixedTask& task_;
  bool few_;
  double seconds_;  // to beat
  std::optional<MixedLayout> best_;
  std::map<std::tuple<RankGroup, std::int64_t, std::size_t, double>, std::optional<RatedReplica>> cache_;
};

MixedSearch::MixedSearch(const PipelineCost& cost, const LayoutNeeds& needs, PipelineSchedule schedule)
    : cost_(cost),
      schedule_(schedule),
      pipelines_(cost, needs, schedule),
      least_with_(cost.profile().ranks.size(), 0.0) {}

void MixedSearch::note(const Layout& layout, double seconds) {
  for (const Replica& replica : layout.replicas) {
    for (const Stage& stage : replica.stages) {
      double& least = least_with_[rank_of(stage)];
      least = least == 0 ? seconds : std::min(least, seconds);
    }
  }
}

std::optional<MixedLayout> MixedSearch::best(const MixedTask& task) { return Run(*this, task).best(); }

}  // namespace lshdp::plan
