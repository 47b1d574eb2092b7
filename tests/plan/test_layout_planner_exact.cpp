// The planner against every layout of small clusters: choices of ranks, groups, orders, cuts, micro-batches, shares.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/plan/layout_planner.h"
#include "lshdp/plan/layout_prediction.h"
#include "plan/layouts.h"

namespace lshdp::plan {
namespace {

using test::BlockModel;
using test::cluster_of;

constexpr double kNone = std::numeric_limits<double>::infinity();

std::vector<std::int64_t> cut_batch(std::int64_t batch, std::int64_t count) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t i = 0; i < count; ++i) sizes.push_back((batch + count - 1 - i) / count);
  return sizes;
}

/// Every order of `ranks` cut in every way; with `tied` first and last stage on one rank.
std::vector<std::vector<Stage>> all_stages(std::vector<std::int64_t> ranks, std::size_t blocks, bool tied) {
  std::vector<std::vector<Stage>> all;
  std::ranges::sort(ranks);
  do {
    std::vector<std::int64_t> order = ranks;
    if (tied && order.size() > 1) order.push_back(order.front());
    for (std::size_t cuts = 0; cuts < std::size_t{1} << (blocks - 1); ++cuts) {
      std::vector<Stage> stages;
      std::size_t start = 0;
      for (std::size_t end = 1; end <= blocks; ++end) {
        if (end < blocks && (cuts >> (end - 1) & 1) == 0) continue;
        if (stages.size() < order.size())
          stages.push_back({.rank = order[stages.size()], .start = start, .end = end});
        else
          stages.push_back({});
        start = end;
      }
      if (stages.size() == order.size()) all.push_back(std::move(stages));
    }
  } while (std::ranges::next_permutation(ranks).found);
  return all;
}

/// Every replica on all of `ranks`, with every number of micro-batches and in flight.
std::vector<Replica> all_replicas(const std::vector<std::int64_t>& ranks, std::int64_t batch, std::size_t blocks,
                                  bool tied, PipelineSchedule schedule) {
  std::vector<Replica> all;
  for (const std::vector<Stage>& stages : all_stages(ranks, blocks, tied)) {
    for (std::int64_t count = 1; count <= batch; ++count) {
      const auto behind = static_cast<std::int64_t>(stages.size()) - 1;
      const bool one_way = stages.size() == 1 || schedule == PipelineSchedule::gpipe;
      for (std::int64_t more = 0; more <= (one_way ? 0 : count); ++more) {
        Replica replica{.batch = batch, .micro_batches = cut_batch(batch, count), .stages = stages};
        if (stages.size() == 1) replica.micro_batches = in_training_order(replica.micro_batches);
        for (std::size_t stage = 0; stage < stages.size(); ++stage) {
          const auto left = behind - static_cast<std::int64_t>(stage);
          const double extra =
              behind == 0 ? 0 : std::ceil(static_cast<double>(more * left) / static_cast<double>(behind));
          const std::int64_t usual = 1 + left + static_cast<std::int64_t>(extra);
          replica.stages[stage].in_flight = one_way ? count : std::min(count, usual);
        }
        all.push_back(std::move(replica));
      }
    }
  }
  return all;
}

struct Best {
  double data = kNone, pipeline = kNone, mixed = kNone;
};

class BruteForce {
 public:
  BruteForce(const Profile& profile, std::int64_t total, bool tied, PipelineSchedule schedule)
      : profile_(profile), total_(total), tied_(tied), schedule_(schedule) {}

  Best best() {
    group(0);
    return best_;
  }

 private:
  /// Every way to group some of the ranks from `rank` on.
  void group(std::size_t rank) {
    if (rank == profile_.ranks.size()) {
      if (!groups_.empty()) share(0, total_);
      return;
    }
    group(rank + 1);
    for (std::size_t at = 0; at < groups_.size(); ++at) {
      groups_[at].push_back(static_cast<std::int64_t>(rank));
      group(rank + 1);
      groups_[at].pop_back();
    }
    groups_.push_back({static_cast<std::int64_t>(rank)});
    group(rank + 1);
    groups_.pop_back();
  }

  void share(std::size_t group, std::int64_t left) {
    if (group == groups_.size()) {
      if (left == 0) look();
      return;
    }
    for (std::int64_t batch = 1; batch <= left; ++batch) {
      for (Replica& replica : all_replicas(groups_[group], batch, profile_.blocks.size(), tied_, schedule_)) {
        replicas_.push_back(std::move(replica));
        share(group + 1, left - batch);
        replicas_.pop_back();
      }
    }
  }

  void look() {
    const Layout layout{.blocks = profile_.blocks.size(), .schedule = schedule_, .replicas = replicas_};
    double seconds = kNone;
    try {
      seconds = predict_layout(profile_, layout, "layout").layout.predicted.step_seconds;
    } catch (const UsageError&) {
      return;
    }
    double& best = is_data_parallel(layout) ? best_.data : replicas_.size() == 1 ? best_.pipeline : best_.mixed;
    best = std::min(best, seconds);
  }

  const Profile& profile_;
  std::int64_t total_;
  bool tied_;
  PipelineSchedule schedule_;
  std::vector<std::vector<std::int64_t>> groups_;
  std::vector<Replica> replicas_;
  Best best_;
};

struct Case {
  std::vector<double> speeds;
  std::size_t blocks = 0;
  std::int64_t total = 0;
  bool tied = false;
  PipelineSchedule schedule = PipelineSchedule::one_f_one_b;
};

/// Blocks and ranks of random speeds, links and memory.
Profile random_profile(const Case& of, std::mt19937_64& random) {
  std::uniform_real_distribution<double> weight(0.5, 2), exponent(2, 6);
  Profile profile = cluster_of(of.speeds, {.blocks = of.blocks}, std::pow(10, exponent(random)));
  // No two blocks are alike.
  for (std::size_t block = 0; block < of.blocks; ++block)
    profile.blocks[block].parameters += static_cast<std::int64_t>(block);
  profile.network.latency_seconds = 1e-3;
  profile.network.cpu_seconds_per_byte = 1e-5;
  for (RankProfile& rank : profile.ranks) {
    const double speed = 1 / rank.curve.front().seconds;
    std::vector<double> weights;
    for (std::size_t block = 0; block < of.blocks; ++block) weights.push_back(weight(random));
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    for (double& value : weights) value /= sum;
    rank = test::rank_of_speed(speed, weights, 0.05 / speed);
    rank.update_seconds = 0.01 / speed;
    // Some hold no more than a part of the model.
    rank.memory_bytes = random() % 3 == 0 ? static_cast<std::int64_t>(of.blocks) * 16'000 * 3 / 4 : 1 << 30;
  }
  for (std::size_t rank = 0; rank < profile.ranks.size(); ++rank) profile.ranks[rank].rank = static_cast<int>(rank);
  return profile;
}

void compare(const Case& of, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const Profile profile = random_profile(of, random);
  const Best best = BruteForce(profile, of.total, of.tied, of.schedule).best();
  LayoutNeeds needs{.model = "", .blocks = of.blocks};
  if (of.tied) needs.shared_parameters = {{0, of.blocks - 1}};
  const LayoutSolution solution = solve_layout(profile, {.total = of.total, .schedule = of.schedule, .needs = needs});
  const auto found = [&](std::size_t kind) {
    if (kind >= solution.alternatives.size()) return kNone;
    return solution.alternatives[kind].step_seconds == 0 ? kNone : solution.alternatives[kind].step_seconds;
  };
  const auto same = [](double a, double b) { return a == b || std::abs(a - b) <= 2e-6 * b; };
  EXPECT_TRUE(same(found(0), best.data)) << "seed " << seed << ": data " << found(0) << ", brute " << best.data;
  EXPECT_TRUE(same(found(1), best.pipeline)) << "seed " << seed << ": pipeline " << found(1) << ", " << best.pipeline;
  // Mixed layouts slower than the other kinds are not told.
  const double others = std::min(best.data, best.pipeline);
  if (best.mixed < others * (1 - 2e-6)) {
    EXPECT_TRUE(same(found(2), best.mixed)) << "seed " << seed << ": mixed " << found(2) << ", " << best.mixed;
  } else {
    EXPECT_TRUE(found(2) == kNone || same(found(2), others)) << "seed " << seed;
  }
}

TEST(LayoutPlannerExact, TwoRanks) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) compare({.speeds = {1, 2.5}, .blocks = 6, .total = 6}, seed);
}

TEST(LayoutPlannerExact, ThreeRanks) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) compare({.speeds = {1, 2.5, 1.7}, .blocks = 4, .total = 4}, seed);
  for (std::uint64_t seed = 6; seed < 9; ++seed) compare({.speeds = {1, 1, 3}, .blocks = 6, .total = 3}, seed);
}

TEST(LayoutPlannerExact, SharedParameters) {
  for (std::uint64_t seed = 0; seed < 10; ++seed)
    compare({.speeds = {2, 1}, .blocks = 6, .total = 5, .tied = true}, seed);
  for (std::uint64_t seed = 10; seed < 16; ++seed)
    compare({.speeds = {1, 2, 1.5}, .blocks = 5, .total = 4, .tied = true}, seed);
}

TEST(LayoutPlannerExact, GPipe) {
  for (std::uint64_t seed = 0; seed < 6; ++seed)
    compare({.speeds = {1, 2.5, 1.7}, .blocks = 5, .total = 4, .schedule = PipelineSchedule::gpipe}, seed);
}

}  // namespace
}  // namespace lshdp::plan
