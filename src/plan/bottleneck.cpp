// Bisection over the time that the busiest stage may take.
#include "bottleneck.h"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace lshdp::plan {
namespace {

constexpr double kExactTo = 1e-4;  // of the time: cuts are moved by simulation afterwards

/// The first of `way(seconds)` that is there, as `seconds` grows.
template <typename Way>
std::optional<PipelineShape> shortest(double enough, Way way) {
  std::optional<PipelineShape> best = way(enough);
  if (!best) return best;
  double low = 0, high = enough;
  while (high - low > kExactTo * high) {
    const double middle = low + (high - low) / 2;
    std::optional<PipelineShape> shape = way(middle);
    (shape ? high : low) = middle;
    if (shape) best = std::move(shape);
  }
  return best;
}

/// Time in which any rank does everything.
double enough_seconds(const StageLoads& loads, const std::vector<std::size_t>& ranks, std::size_t blocks) {
  double seconds = 0;
  for (const std::size_t rank : ranks) {
    double link = 0;
    for (std::size_t block = 0; block < blocks; ++block) link = std::max(link, loads.link(rank, {block, block + 1}));
    seconds = std::max(seconds, loads.work(rank, {0, blocks}) + 2 * link);
  }
  return 2 * seconds;
}

/// A pipeline that comes back gets its first and its last stage.
PipelineShape closed(PipelineShape inner, std::size_t back_to, std::size_t blocks) {
  inner.ends.insert(inner.ends.begin(), 0);  // its caller knows
  inner.ranks.insert(inner.ranks.begin(), back_to);
  inner.ranks.push_back(back_to);
  inner.ends.push_back(blocks);
  return inner;
}

}  // namespace

std::optional<std::size_t> Bottleneck::reach(std::size_t rank, std::size_t least, std::size_t end, double seconds,
                                             std::size_t behind, bool comes_back) const {
  const auto can = [&](std::size_t start) {
    return loads_.work(rank, {start, end}) <= seconds && fits_(rank, {start, end}, behind);
  };
  std::size_t start = least, too_early = least;
  if (end <= least || !can(end - 1)) return std::nullopt;
  if (!can(least)) {
    start = end - 1;
    while (start - too_early > 1) {
      const std::size_t middle = too_early + (start - too_early) / 2;
      (can(middle) ? start : too_early) = middle;
    }
  }
  for (; start < end; ++start) {
    const bool may = start == 0 || rules_.may_cut(start, comes_back);
    if (may && loads_.link(rank, {start, end}) <= seconds) return start;
  }
  return std::nullopt;
}

std::size_t Bottleneck::first_end(std::size_t rank, double seconds, std::size_t behind) const {
  const BlockRange last{rules_.most_last_start(), rules_.blocks()};
  const double left = seconds - loads_.work(rank, last), link_left = seconds - loads_.link(rank, last);
  std::size_t end = 0;
  for (std::size_t at = rules_.least_first_end(); at < last.start; ++at) {
    if (loads_.work(rank, {0, at}) > left || !fits_(rank, {0, at}, behind)) break;
    if (rules_.may_cut(at, true) && loads_.link(rank, {0, at}) <= link_left) end = at;
  }
  return end;
}

std::optional<PipelineShape> Bottleneck::cut_within(const std::vector<std::size_t>& ranks, bool comes_back,
                                                    double seconds) const {
  const std::size_t first = comes_back ? 1 : 0, more = comes_back ? 1 : 0;
  PipelineShape shape;
  std::size_t end = comes_back ? rules_.most_last_start() : rules_.blocks();
  for (std::size_t at = ranks.size(); at-- > first;) {
    const std::size_t least = comes_back ? rules_.least_first_end() + at - 1 : at;
    const auto start = reach(ranks[at], least, end, seconds, ranks.size() - 1 - at + more, comes_back);
    if (!start) return std::nullopt;
    shape.ranks.insert(shape.ranks.begin(), ranks[at]);
    shape.ends.insert(shape.ends.begin(), end);
    end = *start;
  }
  if (!comes_back) return end == 0 ? std::optional(shape) : std::nullopt;
  if (first_end(ranks.front(), seconds, ranks.size()) < end) return std::nullopt;
  shape = closed(std::move(shape), ranks.front(), rules_.blocks());
  shape.ends.front() = end;
  return shape;
}

std::optional<PipelineShape> Bottleneck::cut(const std::vector<std::size_t>& ranks, bool comes_back) const {
  return shortest(enough_seconds(loads_, ranks, rules_.blocks()),
                  [&](double seconds) { return cut_within(ranks, comes_back, seconds); });
}

std::optional<PipelineShape> Bottleneck::order_within(const std::vector<std::size_t>& ranks, std::size_t stages,
                                                      std::optional<std::size_t> back_to, double seconds) const {
  const bool comes_back = back_to.has_value();
  const std::size_t begin = comes_back ? rules_.least_first_end() : 0;
  const std::size_t target = comes_back ? first_end(*back_to, seconds, stages + 1) : 0;
  if (comes_back && target == 0) return std::nullopt;
  struct Reached {
    std::size_t start = SIZE_MAX, rank = 0;
  };
  std::vector<Reached> reached(std::size_t{1} << ranks.size());  // by set of ranks
  reached[0].start = comes_back ? rules_.most_last_start() : rules_.blocks();
  for (std::size_t set = 1; set < reached.size(); ++set) {
    const auto members = static_cast<std::size_t>(std::popcount(set));
    if (members > stages) continue;
    for (std::size_t at = 0; at < ranks.size(); ++at) {
      const std::size_t others = set & ~(std::size_t{1} << at);
      if (others == set || reached[others].start == SIZE_MAX) continue;
      const auto start = reach(ranks[at], begin + stages - members, reached[others].start, seconds,
                               members - 1 + (comes_back ? 1 : 0), comes_back);
      if (start && *start < reached[set].start) reached[set] = {*start, at};
    }
    if (members < stages || reached[set].start > target) continue;
    PipelineShape shape;
    for (std::size_t left = set; left != 0; left &= ~(std::size_t{1} << reached[left].rank)) {
      shape.ranks.push_back(ranks[reached[left].rank]);
      shape.ends.push_back(reached[left & ~(std::size_t{1} << reached[left].rank)].start);
    }
    if (!comes_back) return shape;
    shape = closed(std::move(shape), *back_to, rules_.blocks());
    shape.ends.front() = reached[set].start;
    return shape;
  }
  return std::nullopt;
}

std::optional<PipelineShape> Bottleneck::order(const std::vector<std::size_t>& ranks, std::size_t stages,
                                               std::optional<std::size_t> back_to) const {
  std::vector<std::size_t> all = ranks;
  if (back_to) all.push_back(*back_to);
  return shortest(enough_seconds(loads_, all, rules_.blocks()),
                  [&](double seconds) { return order_within(ranks, stages, back_to, seconds); });
}

}  // namespace lshdp::plan
