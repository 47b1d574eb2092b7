// Cuts by measured times, by speed and by number.
#include "pipeline_seeds.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <utility>

#include "bottleneck.h"
#include "fixed_cut.h"
#include "stage_memory.h"

namespace lshdp::plan {
namespace {

constexpr std::int64_t kAllCounts = 64, kSmallCounts = 16;
constexpr double kNextCount = 1.2;
constexpr std::int64_t kAllLengths = 16;  // stages up to which every number is tried
constexpr double kNextLength = 1.25;
constexpr std::size_t kAllBackTo = 5, kSomeBackTo = 2;  // ranks that a pipeline comes back to: of few, and of more
constexpr std::int64_t kWorksOfCut = 70;                // what a cut takes, for each stage, in simulated works

/// Rising from `first`, in steps of `factor` beyond `all_to`, with `last`.
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

/// As the schedule asks for, or with one micro-batch at a time.
FitsMemory memory_of(PipelineRater& rater, std::int64_t count, bool one_in_flight) {
  return [&rater, count, one_in_flight, samples = near_equal(rater.task().batch, count).front()](
             std::size_t rank, BlockRange range, std::size_t behind) {
    const std::int64_t budget = rater.cost().profile().ranks[rank].memory_bytes;
    if (budget <= 0) return true;
    const std::int64_t usual = rater.is_gpipe() ? count : std::min(count, static_cast<std::int64_t>(behind) + 1);
    const HeldStage held{range, one_in_flight ? 1 : usual};
    return rank_bytes(rater.cost().blocks(), rater.cost().profile().strategy, {&held, 1}, samples, rater.task().holders)
               .total() <= budget;
  };
}

class Seeds {
 public:
  explicit Seeds(PipelineRater& rater) : rater_(rater), task_(rater.task()), counts_(counts_of(task_.batch)) {}

  std::vector<Seed> all() {
    if (task_.cut == StageCut::automatic) {
      any_order();
    } else {
      for (const std::int64_t count : counts_) add(rank_order(count), count);
    }
    std::ranges::stable_sort(seeds_, {}, &Seed::least);
    return std::move(seeds_);
  }

 private:
  void add(std::optional<PipelineShape> shape, std::int64_t count) {
    if (!shape || !rater_.rules().allows(*shape)) return;
    const double least = least_seconds(rater_.loads(count), *shape);
    seeds_.push_back({std::move(*shape), count, least});
  }

  std::optional<PipelineShape> rank_order(std::int64_t count) {
    if (task_.cut == StageCut::profiled) return cut_in_order(rater_, task_.ranks, count);
    std::vector<double> weights;
    for (const std::size_t rank : task_.ranks)
      weights.push_back(task_.cut == StageCut::uniform ? 1 : rater_.cost().samples_per_second(rank));
    return cut_in_proportion(task_.ranks, weights, rater_.rules(), rater_.rules().comes_back());
  }

  void any_order() {
    const auto most = static_cast<std::int64_t>(std::min(task_.ranks.size(), rater_.rules().blocks()));
    for (const std::int64_t count : few_counts()) {
      for (const std::int64_t length : spread(task_.all_ranks ? most : 2, most, kAllLengths, kNextLength))
        add_length(static_cast<std::size_t>(length), count);
    }
  }

  /// Moves find the others.
  std::vector<std::int64_t> few_counts() const {
    std::set<std::int64_t> counts;
    const auto ranks = static_cast<std::int64_t>(task_.ranks.size());
    for (const std::int64_t wanted : {ranks, 2 * ranks, 4 * ranks, 8 * ranks}) {
      const auto above = std::ranges::lower_bound(counts_, wanted);
      counts.insert(above == counts_.end() ? counts_.back() : *above);
    }
    return {counts.begin(), counts.end()};
  }

  /// `length`: ranks with a stage.
  void add_length(std::size_t length, std::int64_t count) {
    if (task_.ranks.size() <= Bottleneck::kMostRanks) add_best_order(length, count);
    std::vector<std::size_t> falling = by_speed(rater_);
    falling.resize(length);
    std::vector<std::size_t> rising = falling, in_rank_order = falling;
    std::ranges::reverse(rising);
    std::ranges::sort(in_rank_order);
    for (const auto& order : {falling, rising, in_rank_order}) add(cut_in_order(rater_, order, count), count);
  }

  void add_best_order(std::size_t length, std::int64_t count) {
    const Bottleneck bottleneck(rater_.loads(count), rater_.rules(), memory_of(rater_, count, false));
    if (!rater_.rules().comes_back()) {
      add(bottleneck.order(task_.ranks, length, std::nullopt), count);
      return;
    }
    std::vector<std::size_t> fastest = by_speed(rater_);
    fastest.resize(fastest.size() <= kAllBackTo ? fastest.size() : kSomeBackTo);
    for (const std::size_t rank : fastest) {
      std::vector<std::size_t> others = task_.ranks;
      std::erase(others, rank);
      add(bottleneck.order(others, length - 1, rank), count);
    }
  }

  PipelineRater& rater_;
  const PipelineTask& task_;
  std::vector<std::int64_t> counts_;
  std::vector<Seed> seeds_;
};

}  // namespace

std::vector<std::int64_t> counts_of(std::int64_t batch) {
  std::set<std::int64_t> counts;
  const std::int64_t most = std::min(batch, kMostMicroBatches);
  for (const std::int64_t count : spread(1, most, batch <= kAllCounts ? batch : kSmallCounts, kNextCount))
    counts.insert(count);
  for (std::int64_t count = 1; count <= most; ++count) {
    if (batch % count == 0) counts.insert(count);
  }
  return {counts.begin(), counts.end()};
}

std::vector<std::size_t> by_speed(const PipelineRater& rater) {
  std::vector<std::size_t> order = rater.task().ranks;
  std::ranges::stable_sort(order, std::greater{},
                           [&](std::size_t rank) { return rater.cost().samples_per_second(rank); });
  return order;
}

std::optional<PipelineShape> cut_in_order(PipelineRater& rater, const std::vector<std::size_t>& order,
                                          std::int64_t count) {
  const bool comes_back = rater.rules().comes_back();
  rater.spend(kWorksOfCut * static_cast<std::int64_t>(order.size()));
  const Bottleneck usual(rater.loads(count), rater.rules(), memory_of(rater, count, false));
  std::optional<PipelineShape> shape = usual.cut(order, comes_back);
  if (shape) return shape;
  return Bottleneck(rater.loads(count), rater.rules(), memory_of(rater, count, true)).cut(order, comes_back);
}

std::vector<Seed> seeds_of(PipelineRater& rater) { return Seeds(rater).all(); }

}  // namespace lshdp::plan
