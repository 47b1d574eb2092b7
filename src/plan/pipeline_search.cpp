// Starts, moves, and branch and bound.
#include "pipeline_search.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <random>
#include <set>
#include <utility>

#include "bottleneck.h"
#include "pipeline_moves.h"
#include "pipeline_seeds.h"
#include "pipeline_tree.h"
#include "rank_kinds.h"

namespace lshdp::plan {
namespace {

constexpr std::size_t kStarts = 6;   // seeds that are moved
constexpr double kWorks = 4e6;       // simulated works, of about 0.1 us each, for starts and for moves
constexpr double kTreeWorks = 8e6;   // for branch and bound
constexpr double kNodes = 8e6;       // of branch and bound
constexpr double kFirstTree = 0.03;  // of that, before starts are shaken
constexpr std::int64_t kFlights = 64, kFewFlights = 8;  // in flight, that are tried of the best pipeline
constexpr std::size_t kMostMovedOrders = 32;            // ranks of a pipeline up to which other orders are cut anew
constexpr double kHopeful = 1.1;                        // times what is to beat: worse ones do not get there by swaps
constexpr double kBetter = 1 - 1e-9;
constexpr double kSame = 1 + 1e-6;
constexpr double kInfinite = std::numeric_limits<double>::infinity();

/// One search.
class Run {
 public:
  explicit Run(PipelineRater& rater)
      : rater_(rater), task_(rater.task()), kinds_(kinds_of(rater.cost().profile())), random_(1) {}

  std::optional<RatedReplica> best(bool& exact) {
    start();
    if (task_.cut == StageCut::automatic) {
      exact = search_orders() && exact;
    } else {
      exact = false;
    }
    if (best_) best_in_flight();
    return best_ ? std::optional(std::move(best_->rated)) : std::nullopt;
  }

 private:
  struct Point {
    PipelineShape shape;
    std::int64_t count = 0;
    RatedReplica rated;
  };

  std::int64_t effort(double all) const { return static_cast<std::int64_t>(task_.effort * all); }

  static double to_beat(const std::optional<Point>& point) {
    return point ? point->rated.seconds * kBetter : kInfinite;
  }

  /// Whether it is better than `point`, which it then becomes.
  bool improve(std::optional<Point>& point, const PipelineShape& shape, std::int64_t count, double most = kInfinite) {
    std::optional<RatedReplica> rated = rater_.rate(shape, count, std::min(to_beat(point), most));
    if (!rated) return false;
    point = Point{shape, count, std::move(*rated)};
    return true;
  }

  void keep(const std::optional<Point>& point) {
    if (point && point->rated.seconds < to_beat(best_)) best_ = point;
  }

  /// Whether everything was looked at. Where that is little, nothing else is done.
  bool search_orders() {
    const bool few_ranks = task_.ranks.size() <= Bottleneck::kMostRanks;
    const std::vector<std::int64_t> counts = counts_of(task_.batch);
    const bool all_counts = static_cast<std::int64_t>(counts.size()) == task_.batch;
    if (few_ranks && branch_and_bound(counts, kFirstTree)) return all_counts;
    const bool hopeful = best_ && best_->rated.seconds < kHopeful * task_.to_beat;
    if (hopeful) shake(rater_.spent() + effort(kWorks / 4));
    if (few_ranks && branch_and_bound(counts, 1)) return all_counts;
    if (hopeful) shake(rater_.spent() + effort(kWorks));
    return false;
  }

  /// From the best seeds, which differ in something that moves change slowly.
  void start() {
    const std::int64_t until = rater_.spent() + effort(kWorks);
    const bool movable = task_.cut == StageCut::automatic || task_.cut == StageCut::profiled;
    std::set<std::pair<std::int64_t, std::size_t>> started;  // micro-batches and stages
    for (const Seed& seed : seeds_of(rater_)) {
      std::optional<Point> point;
      if ((best_ && rater_.spent() > until) || !improve(point, seed.shape, seed.count)) continue;
      if (movable && started.size() < kStarts && started.emplace(seed.count, seed.shape.stages()).second)
        climb(point, until);
      keep(point);
    }
  }

  /// Moves, while they make it better.
  void climb(std::optional<Point>& point, std::int64_t until) {
    bool better = true;
    while (better && rater_.spent() < until) {
      better = move_count(point) || move_cuts(point, until);
      if (!better && task_.cut == StageCut::automatic) better = move_orders(point, until);
    }
  }

  bool move_count(std::optional<Point>& point) {
    bool better = false;
    const std::int64_t count = point->count;
    for (const std::int64_t wanted : {count / 2, count - 2, count - 1, count + 1, count + 2, 2 * count}) {
      if (wanted < 1 || wanted > std::min(task_.batch, kMostMicroBatches)) continue;
      const PipelineShape shape = point->shape;
      better = improve(point, shape, wanted) || better;
    }
    return better;
  }

  bool move_cuts(std::optional<Point>& point, std::int64_t until) {
    const Point from = *point;
    bool better = false;
    for (const PipelineShape& moved : moved_cuts(from.shape)) {
      if (rater_.spent() > until) break;
      better = improve(point, moved, from.count) || better;
    }
    return better;
  }

  /// Each order is cut anew: with the old cuts a slow rank would have a fast one's blocks.
  bool move_orders(std::optional<Point>& point, std::int64_t until) {
    const Point from = *point;
    const std::vector<std::size_t> order = order_of(from.shape);
    if (order.size() > kMostMovedOrders) return false;
    bool better = false;
    for (const auto& moved : moved_orders(order, free_ranks(order), !task_.all_ranks)) {
      if (rater_.spent() > until) break;
      const auto shape = cut_in_order(rater_, moved, from.count);
      better = (shape && improve(point, *shape, from.count)) || better;
    }
    return better;
  }

  std::vector<std::size_t> free_ranks(const std::vector<std::size_t>& order) const {
    std::vector<std::size_t> free;
    for (const std::size_t rank : by_speed(rater_)) {
      if (std::ranges::find(order, rank) == order.end()) free.push_back(rank);
    }
    return free;
  }

  /// Starts again from the best one with some ranks swapped.
  void shake(std::int64_t until) {
    while (rater_.spent() < until) {
      std::vector<std::size_t> order = order_of(best_->shape);
      for (int swap = 0; swap < 2; ++swap) std::swap(order[pick(order.size())], order[pick(order.size())]);
      const std::vector<std::size_t> free = free_ranks(order);
      if (!free.empty() && pick(2) == 0) order[pick(order.size())] = free[pick(free.size())];
      const std::int64_t count = best_->count;
      std::optional<Point> point;
      const auto shape = cut_in_order(rater_, order, count);
      if (!shape || !improve(point, *shape, count)) continue;
      climb(point, until);
      keep(point);
    }
  }

  /// Alike on all machines, as std::uniform_int_distribution is not.
  std::size_t pick(std::size_t below) { return static_cast<std::size_t>(random_() % below); }

  /// Whether it came to its end. Numbers of micro-batches near the best one's come first: the better the best one, the
  /// less is simulated.
  bool branch_and_bound(std::vector<std::int64_t> counts, double share) {
    const std::int64_t nearest = best_ ? best_->count : 1;
    std::ranges::stable_sort(counts, {}, [nearest](std::int64_t count) { return std::abs(count - nearest); });
    const std::int64_t until = rater_.spent() + effort(share * kTreeWorks);
    std::int64_t nodes = effort(share * kNodes);
    for (const std::int64_t count : counts) {
      PipelineTree tree(rater_.loads(count), rater_.rules(), task_.ranks, kinds_, task_.all_ranks);
      const auto limit = [&] { return std::min(to_beat(best_), task_.to_beat); };
      const bool complete = tree.walk(limit(), nodes, [&](const PipelineShape& shape) {
        if (rater_.spent() > until) return -kInfinite;
        improve(best_, shape, count, task_.to_beat);
        return limit();
      });
      if (!complete || rater_.spent() > until) return false;
    }
    return true;
  }

  /// The best in_flight of all, or of some where there are very many; of equally fast ones the least.
  void best_in_flight() {
    const std::int64_t count = best_->count;
    const std::int64_t tried = std::clamp<std::int64_t>(effort(kFlights), kFewFlights, kFlights);
    const std::int64_t step = std::max<std::int64_t>(1, count / tried);
    for (std::int64_t more = rater_.is_gpipe() ? 0 : count; more >= 0; more -= step) {
      std::optional<RatedReplica> rated = rater_.rate_in_flight(best_->shape, count, more);
      if (rated && rated->seconds <= best_->rated.seconds * kSame) best_->rated = std::move(*rated);
    }
  }

  PipelineRater& rater_;
  const PipelineTask& task_;
  std::vector<std::size_t> kinds_;
  std::optional<Point> best_;
  std::mt19937_64 random_;
};

}  // namespace

PipelineSearch::PipelineSearch(const PipelineCost& cost, const LayoutNeeds& needs, PipelineSchedule schedule)
    : cost_(cost), rules_(needs), schedule_(schedule) {
  notes_.least_with.assign(cost.profile().ranks.size(), 0.0);
}

std::optional<RatedReplica> PipelineSearch::best(const PipelineTask& task) {
  PipelineRater rater(cost_, rules_, schedule_, task, notes_);
  return Run(rater).best(exact_);
}

std::optional<std::vector<RatedReplica>> PipelineSearch::all(const PipelineTask& task, std::size_t most) {
  PipelineRater rater(cost_, rules_, schedule_, task, notes_);
  const std::vector<std::size_t> kinds = kinds_of(cost_.profile());
  std::vector<RatedReplica> found;
  auto nodes = static_cast<std::int64_t>(kNodes);
  for (const std::int64_t count : counts_of(task.batch)) {
    PipelineTree tree(rater.loads(count), rules_, task.ranks, kinds, task.all_ranks);
    const bool complete = tree.walk(kInfinite, nodes, [&](const PipelineShape& shape) {
      for (RatedReplica& rated : rater.rate_all(shape, count)) found.push_back(std::move(rated));
      return found.size() > most ? -kInfinite : kInfinite;
    });
    if (!complete || found.size() > most) return std::nullopt;
  }
  return found;
}

}  // namespace lshdp::plan
