// Cuts with the least busiest stage, moved while the simulated step gets shorter, then branch and bound.
#include "pipeline_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "bottleneck.h"
#include "fixed_cut.h"
#include "in_flight.h"
#include "layout_cost.h"
#include "pipeline_moves.h"
#include "pipeline_tree.h"
#include "stage_memory.h"

namespace lshdp::plan {
namespace {

constexpr std::int64_t kAllCounts = 32;  // up to so many samples every number of micro-batches is tried
constexpr double kNextCount = 1.2;       // beyond, numbers in steps of this
constexpr std::size_t kAllLengths = 16;  // up to so many ranks every number of stages is tried
constexpr double kNextLength = 1.25;
constexpr std::int64_t kWorks = 4'000'000;  // simulated in moves, and as many in branch and bound
constexpr std::int64_t kNodes = 4'000'000;  // of branch and bound
constexpr double kBetter = 1 - 1e-9;
constexpr double kSame = 1 + 1e-6;

/// Rising, with `last`.
std::vector<std::int64_t> spread(std::int64_t first, std::int64_t last, std::int64_t all_to, double factor) {
  std::vector<std::int64_t> values;
  for (std::int64_t value = first; value <= last;) {
    values.push_back(value);
    const auto next = static_cast<std::int64_t>(std::ceil(static_cast<double>(value) * factor));
    value = value < all_to ? value + 1 : std::max(value + 1, next);
  }
  if (!values.empty() && values.back() != last) values.push_back(last);
  return values;
}

/// Numbers of micro-batches.
std::vector<std::int64_t> counts_of(std::int64_t batch) {
  std::set<std::int64_t> counts;
  for (const std::int64_t count : spread(1, batch, batch <= kAllCounts ? batch : kAllCounts / 2, kNextCount))
    counts.insert(count);
  for (std::int64_t divisor = 1; divisor * divisor <= batch; ++divisor) {
    if (batch % divisor == 0) counts.insert({divisor, batch / divisor});
  }
  return {counts.begin(), counts.end()};
}

bool same_kind(const RankProfile& a, const RankProfile& b) {
  const auto same_points = [](const CurvePoint& one, const CurvePoint& other) {
    return one.batch == other.batch && one.seconds == other.seconds;
  };
  const auto same_times = [](const BlockTimes& one, const BlockTimes& other) {
    return one.batch == other.batch && one.forward == other.forward && one.backward == other.backward;
  };
  return a.device == b.device && a.cores == b.cores && a.memory_bytes == b.memory_bytes && a.max_batch == b.max_batch &&
         a.update_seconds == b.update_seconds && a.link_bytes_per_second == b.link_bytes_per_second &&
         std::ranges::equal(a.curve, b.curve, same_points) &&
         std::ranges::equal(a.block_times, b.block_times, same_times);
}

/// By rank: the first rank that behaves alike.
std::vector<std::size_t> kinds_of(const Profile& profile) {
  std::vector<std::size_t> kinds;
  for (std::size_t rank = 0; rank < profile.ranks.size(); ++rank) {
    std::size_t like = 0;
    while (!same_kind(profile.ranks[like], profile.ranks[rank])) ++like;
    kinds.push_back(like);
  }
  return kinds;
}

}  // namespace

/// One search.
class PipelineSearch::Run {
 public:
  Run(PipelineSearch& search, const PipelineTask& task)
      : search_(search), task_(task), counts_(counts_of(task.batch)), kinds_(kinds_of(search.cost_.profile())) {}

  std::optional<RatedReplica> best() {
    task_.cut == StageCut::automatic ? seed_orders() : seed_rank_order();
    improve_seeds();
    if (task_.cut == StageCut::automatic && task_.ranks.size() <= Bottleneck::kMostRanks)
      branch_and_bound();
    else
      search_.exact_ = false;
    if (best_) polish_flight();
    return best_;
  }

  std::optional<std::vector<RatedReplica>> all(std::size_t most) {
    std::vector<RatedReplica> found;
    std::int64_t nodes = kNodes;
    for (const std::int64_t count : counts_) {
      PipelineTree tree(loads(count), search_.rules_, task_.ranks, kinds_, task_.all_ranks);
      const double none = -std::numeric_limits<double>::infinity(), any = std::numeric_limits<double>::infinity();
      const bool complete = tree.walk(any, nodes, [&](const PipelineShape& shape) {
        for (RatedReplica& rated : rate_all_flights(shape, count)) found.push_back(std::move(rated));
        return found.size() > most ? none : any;
      });
      if (!complete || found.size() > most) return std::nullopt;
    }
    return found;
  }

 private:
  struct Seed {
    double least = 0;
    std::int64_t count = 0;
    PipelineShape shape;
  };

  const StageLoads& loads(std::int64_t count) {
    const auto found = loads_.find(count);
    if (found != loads_.end()) return found->second;
    return loads_.emplace(count, StageLoads(search_.cost_, task_.ranks, near_equal(task_.batch, count))).first->second;
  }

  std::int64_t share_of(std::int64_t effort) const {
    return static_cast<std::int64_t>(task_.effort * static_cast<double>(effort));
  }

  double best_seconds() const { return best_ ? best_->seconds * kBetter : std::numeric_limits<double>::infinity(); }

  Replica replica_of(const PipelineShape& shape, std::int64_t count) const {
    Replica replica{.batch = task_.batch, .micro_batches = near_equal(task_.batch, count)};
    for (std::size_t stage = 0; stage < shape.stages(); ++stage)
      replica.stages.push_back({.rank = static_cast<std::int64_t>(shape.ranks[stage]),
                                .start = shape.start(stage),
                                .end = shape.ends[stage]});
    return replica;
  }

  /// None: it does not fit.
  std::optional<RatedReplica> rate(Replica replica, std::int64_t more) {
    set_in_flight(search_.cost_, replica, search_.schedule_, more, task_.holders);
    if (misfit_of(search_.cost_, replica, task_.holders)) {
      search_.note_misfit(replica, task_.holders);
      return std::nullopt;
    }
    works_ -= 2 * static_cast<std::int64_t>(replica.micro_batches.size() * replica.stages.size());
    Layout layout{.blocks = search_.rules_.blocks(), .schedule = search_.schedule_, .replicas = {std::move(replica)}};
    ReplicaStep step = search_.cost_.step(layout.replicas.front(), search_.schedule_);
    const double seconds = pipeline_step(search_.cost_, layout, {step}).seconds;
    RatedReplica rated{std::move(layout.replicas.front()), std::move(step), seconds};
    search_.note(rated);
    return rated;
  }

  std::vector<RatedReplica> rate_all_flights(const PipelineShape& shape, std::int64_t count) {
    std::vector<RatedReplica> rated;
    const std::int64_t most = search_.schedule_ == PipelineSchedule::gpipe ? 0 : count;
    for (std::int64_t more = 0; more <= most; ++more) {
      std::optional<RatedReplica> one = rate(replica_of(shape, count), more);
      if (!one) break;
      if (rated.empty() || one->replica != rated.back().replica) rated.push_back(std::move(*one));
    }
    return rated;
  }

  /// Slow links may ask for more in flight: tried where the bound leaves room for it.
  std::optional<RatedReplica> rate_with_flights(const PipelineShape& shape, std::int64_t count, double least) {
    std::optional<RatedReplica> best;
    const double near = count <= kAllFlights ? kSame : kNearBound;
    for (const std::int64_t more : flights(static_cast<std::int64_t>(shape.stages()), count)) {
      std::optional<RatedReplica> rated = rate(replica_of(shape, count), more);
      if (!rated) break;
      if (!best || rated->seconds < best->seconds * kBetter) best = std::move(rated);
      if (best->seconds < near * least) break;
    }
    return best;
  }

  /// What a first stage of `stages` may hold on top, of `count` micro-batches: few values where there are many.
  std::vector<std::int64_t> flights(std::int64_t stages, std::int64_t count) const {
    if (search_.schedule_ == PipelineSchedule::gpipe) return {0};
    std::vector<std::int64_t> values{0};
    while (values.back() < count) {
      const std::int64_t next = count <= kAllFlights ? values.back() + 1 : std::max(stages - 1, 2 * values.back());
      values.push_back(std::min(next, count));
    }
    return values;
  }

  /// Whether it is better than the best one so far.
  bool try_shape(const PipelineShape& shape, std::int64_t count) {
    if (!search_.rules_.allows(shape)) return false;
    const double least = least_seconds(loads(count), shape);
    if (least >= best_seconds()) return false;
    std::optional<RatedReplica> rated = rate_with_flights(shape, count, least);
    if (!rated || rated->seconds >= best_seconds()) return false;
    best_ = std::move(rated);
    best_shape_ = shape;
    best_count_ = count;
    return true;
  }

  FitsMemory memory(std::int64_t count, bool one_in_flight) const {
    return [this, count, one_in_flight, samples = near_equal(task_.batch, count).front()](
               std::size_t rank, BlockRange range, std::size_t behind) {
      const std::int64_t budget = search_.cost_.profile().ranks[rank].memory_bytes;
      if (budget <= 0) return true;
      const std::int64_t usual =
          search_.schedule_ == PipelineSchedule::gpipe ? count : static_cast<std::int64_t>(behind) + 1;
      const HeldStage held{range, one_in_flight ? 1 : std::min(count, usual)};
      return rank_bytes(search_.cost_.blocks(), search_.cost_.profile().strategy, {&held, 1}, samples, task_.holders)
                 .total() <= budget;
    };
  }

  void add_seed(std::optional<PipelineShape> shape, std::int64_t count) {
    if (!shape || !search_.rules_.allows(*shape)) return;
    const double least = least_seconds(loads(count), *shape);
    seeds_.push_back({least, count, std::move(*shape)});
  }

  // Rank order.

  void seed_rank_order() {
    const bool comes_back = search_.rules_.comes_back();
    for (const std::int64_t count : counts_) {
      if (task_.cut == StageCut::profiled) {
        add_seed(cut_in_order(task_.ranks, comes_back, count), count);
      } else {
        add_seed(fixed_cut(comes_back), count);
      }
    }
  }

  std::optional<PipelineShape> cut_in_order(const std::vector<std::size_t>& order, bool comes_back,
                                            std::int64_t count) {
    const Bottleneck usual(loads(count), search_.rules_, memory(count, false));
    std::optional<PipelineShape> shape = usual.cut(order, comes_back);
    if (shape) return shape;
    return Bottleneck(loads(count), search_.rules_, memory(count, true)).cut(order, comes_back);
  }

  PipelineShape fixed_cut(bool comes_back) const {
    std::vector<double> weights;
    for (const std::size_t rank : task_.ranks)
      weights.push_back(task_.cut == StageCut::uniform ? 1 : search_.cost_.samples_per_second(rank));
    return cut_in_proportion(task_.ranks, weights, search_.rules_, comes_back);
  }

  // Any order.

  std::vector<std::size_t> by_speed() const {
    std::vector<std::size_t> order = task_.ranks;
    std::ranges::stable_sort(order, std::greater{},
                             [&](std::size_t rank) { return search_.cost_.samples_per_second(rank); });
    return order;
  }

  /// A few numbers of micro-batches: moves find the others.
  std::vector<std::int64_t> seed_counts() const {
    std::set<std::int64_t> counts;
    const auto ranks = static_cast<std::int64_t>(task_.ranks.size());
    for (const std::int64_t wanted : {ranks, 2 * ranks, 4 * ranks, 8 * ranks}) counts.insert(nearest_count(wanted));
    return {counts.begin(), counts.end()};
  }

  std::int64_t nearest_count(std::int64_t wanted) const {
    const auto above = std::ranges::lower_bound(counts_, wanted);
    return above == counts_.end() ? counts_.back() : *above;
  }

  void seed_orders() {
    const auto most = static_cast<std::int64_t>(std::min(task_.ranks.size(), search_.rules_.blocks()));
    const std::int64_t least = task_.all_ranks ? most : 2;
    for (const std::int64_t count : seed_counts()) {
      for (const std::int64_t length : spread(least, most, static_cast<std::int64_t>(kAllLengths), kNextLength))
        seed_length(static_cast<std::size_t>(length), count);
    }
  }

  /// `length`: ranks with a stage.
  void seed_length(std::size_t length, std::int64_t count) {
    const bool comes_back = search_.rules_.comes_back();
    if (task_.ranks.size() <= Bottleneck::kMostRanks) seed_best_order(length, count, comes_back);
    std::vector<std::size_t> fastest = by_speed();
    fastest.resize(length);
    std::vector<std::size_t> rising = fastest, in_rank_order = fastest;
    std::ranges::reverse(rising);
    std::ranges::sort(in_rank_order);
    for (const auto& order : {fastest, rising, in_rank_order}) add_seed(cut_in_order(order, comes_back, count), count);
  }

  void seed_best_order(std::size_t length, std::int64_t count, bool comes_back) {
    const Bottleneck bottleneck(loads(count), search_.rules_, memory(count, false));
    if (!comes_back) {
      add_seed(bottleneck.order(task_.ranks, length, std::nullopt), count);
      return;
    }
    if (length < 2) return;
    std::vector<std::size_t> fastest = by_speed();
    fastest.resize(std::min<std::size_t>(fastest.size(), task_.ranks.size() <= kAllBackTo ? kAllBackTo : 2));
    for (const std::size_t rank : fastest) {
      std::vector<std::size_t> others = task_.ranks;
      std::erase(others, rank);
      add_seed(bottleneck.order(others, length - 1, rank), count);
    }
  }

  /// The best by their bounds are simulated, and the best of these moved.
  void improve_seeds() {
    std::ranges::stable_sort(seeds_, {}, &Seed::least);
    works_ = share_of(kWorks);
    for (const Seed& seed : seeds_) {
      if (works_ > 0) try_shape(seed.shape, seed.count);
    }
    const bool movable = task_.cut == StageCut::automatic || task_.cut == StageCut::profiled;
    if (best_ && movable) climb();
  }

  /// Moves of the best one, while they make it better.
  void climb() {
    bool better = true;
    while (better && works_ > 0) {
      better = false;
      for (const std::int64_t count : counts_near(best_count_)) better = try_shape(best_shape_, count) || better;
      const PipelineShape from = best_shape_;
      for (const PipelineShape& moved : moves_of(from, freedom(from))) {
        if (works_ <= 0) return;
        better = try_shape(moved, best_count_) || better;
      }
    }
  }

  MoveFreedom freedom(const PipelineShape& shape) const {
    if (task_.cut != StageCut::automatic) return {};
    MoveFreedom freedom{.order = true, .drop = !task_.all_ranks};
    for (const std::size_t rank : by_speed()) {
      if (std::ranges::find(shape.ranks, rank) == shape.ranks.end()) freedom.free.push_back(rank);
    }
    return freedom;
  }

  std::vector<std::int64_t> counts_near(std::int64_t count) const {
    std::set<std::int64_t> near;
    for (const std::int64_t wanted : {count / 2, count - 2, count - 1, count + 1, count + 2, 2 * count})
      near.insert(std::clamp<std::int64_t>(wanted, 1, task_.batch));
    near.erase(count);
    return {near.begin(), near.end()};
  }

  void branch_and_bound() {
    works_ = share_of(kWorks);
    std::int64_t nodes = share_of(kNodes);
    search_.exact_ = search_.exact_ && task_.batch <= kAllCounts;
    for (const std::int64_t count : counts_) {
      PipelineTree tree(loads(count), search_.rules_, task_.ranks, kinds_, task_.all_ranks);
      const bool complete = tree.walk(best_seconds(), nodes, [&](const PipelineShape& shape) {
        if (works_ <= 0) return -std::numeric_limits<double>::infinity();
        try_shape(shape, count);
        return best_seconds();
      });
      if (!complete || works_ <= 0) search_.exact_ = false;
      if (nodes <= 0 || works_ <= 0) return;
    }
  }

  /// The least in flight with which the best pipeline is as fast.
  void polish_flight() {
    std::int64_t enough = 0, below = -1;
    const auto as_fast = [&](std::int64_t more) {
      std::optional<RatedReplica> rated = rate(replica_of(best_shape_, best_count_), more);
      const bool enough_so = rated && rated->seconds <= best_->seconds * kSame;
      if (enough_so) best_ = std::move(rated);
      return enough_so;
    };
    while (enough < best_count_ && !as_fast(enough)) {
      below = enough;
      enough = std::max<std::int64_t>(1, 2 * enough);
    }
    while (enough - below > 1) {
      const std::int64_t middle = below + (enough - below) / 2;
      (as_fast(middle) ? enough : below) = middle;
    }
  }

  static constexpr double kNearBound = 1.01;
  static constexpr std::int64_t kAllFlights = 8;  // micro-batches
  static constexpr std::size_t kAllBackTo = 5;

  PipelineSearch& search_;
  const PipelineTask& task_;
  std::vector<std::int64_t> counts_;
  std::vector<std::size_t> kinds_;
  std::map<std::int64_t, StageLoads> loads_;
  std::vector<Seed> seeds_;
  std::optional<RatedReplica> best_;
  PipelineShape best_shape_;
  std::int64_t best_count_ = 0;
  std::int64_t works_ = kWorks;
};

void PipelineSearch::note(const RatedReplica& rated) {
  for (const Stage& stage : rated.replica.stages) {
    double& least = least_with_[rank_of(stage)];
    least = least == 0 ? rated.seconds : std::min(least, rated.seconds);
  }
}

void PipelineSearch::note_misfit(const Replica& replica, std::size_t holders) {
  double lacking = 0;
  const std::vector<std::int64_t> bytes = bytes_of(cost_, replica, holders);
  for (std::size_t stage = 0; stage < bytes.size(); ++stage) {
    const auto budget = static_cast<double>(cost_.profile().ranks[rank_of(replica.stages[stage])].memory_bytes);
    if (budget > 0) lacking = std::max(lacking, static_cast<double>(bytes[stage]) / budget);
  }
  if (misfit_ && lacking >= misfit_lacks_) return;
  misfit_ = replica;
  misfit_lacks_ = lacking;
}

std::optional<RatedReplica> PipelineSearch::best(const PipelineTask& task) { return Run(*this, task).best(); }

std::optional<std::vector<RatedReplica>> PipelineSearch::all(const PipelineTask& task, std::size_t most) {
  return Run(*this, task).all(most);
}

}  // namespace lshdp::plan
