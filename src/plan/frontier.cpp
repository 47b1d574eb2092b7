// The sweep over all totals.
#include "frontier.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "checked_json.h"
#include "lshdp/core/error.h"
#include "lshdp/core/text.h"

namespace lshdp::plan {
namespace {

constexpr std::int64_t kMaxEvents = std::int64_t{1} << 24;  // of 16 bytes, and as many points of 24
constexpr double kBands = 60;
constexpr double kTie = 1 + 1e-9;   // a larger total must be faster by more than this
constexpr double kRounding = 1e-9;  // of a total that just reaches its share

/// At `seconds`, `ranks` ranks that are alike finish one sample more each.
struct Event {
  double seconds;
  std::int64_t ranks;
};

std::vector<Event> events_in_order(Ranks& ranks) {
  std::int64_t count = 0;
  for (const Ranks::Class& alike : ranks.classes()) count += ranks.cost(alike.first_rank).largest();
  if (count > kMaxEvents) {
    throw UsageError(
        fmt::format("too many batches to compare ({}) to find the best total; give --total, or a smaller "
                    "--max-accumulation",
                    format_count(count)));
  }
  std::vector<Event> events;
  events.reserve(static_cast<std::size_t>(count));
  for (const Ranks::Class& alike : ranks.classes()) {
    // From the top, so that the table is made once.
    for (std::int64_t batch = ranks.cost(alike.first_rank).largest(); batch >= 1; --batch) {
      events.push_back({ranks.finish(alike.first_rank, batch), alike.ranks});
    }
  }
  std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) { return a.seconds < b.seconds; });
  return events;
}

std::vector<FrontierPoint> all_points(Ranks& ranks) {
  const std::vector<Event> events = events_in_order(ranks);
  const double least = ranks.largest_fixed();
  std::vector<FrontierPoint> points;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < events.size(); ++i) {
    total += events[i].ranks;
    const double seconds = std::max(events[i].seconds, least);
    const bool more_in_this_time = i + 1 < events.size() && events[i + 1].seconds <= seconds;
    if (more_in_this_time) continue;
    const double step = ranks.model().step_seconds(seconds);
    points.push_back({total, step, static_cast<double>(total) / step});
  }
  return points;
}

/// The first of the most samples per second, and the smallest total that reaches `share` of that. `points`: by total;
/// a total between two of them takes as long as the larger one.
struct Best {
  FrontierPoint best, enough;
};

FrontierPoint point_of(std::int64_t total, double step_seconds) {
  return {total, step_seconds, static_cast<double>(total) / step_seconds};
}

Best best_of(const std::vector<FrontierPoint>& points, std::int64_t limit, double share) {
  Best found;
  for (const FrontierPoint& point : points) {
    const FrontierPoint within = point.total <= limit ? point : point_of(limit, point.step_seconds);
    if (within.samples_per_second > found.best.samples_per_second * kTie) found.best = within;
    if (point.total >= limit) break;
  }
  std::int64_t before = 0;
  for (const FrontierPoint& point : points) {
    const double enough = std::ceil(share * found.best.samples_per_second * point.step_seconds * (1 - kRounding));
    if (enough > static_cast<double>(std::min(point.total, limit))) {
      before = point.total;
      continue;
    }
    found.enough = point_of(std::max(before + 1, static_cast<std::int64_t>(enough)), point.step_seconds);
    break;
  }
  return found;
}

/// Equal batches on all ranks that hold a sample.
std::vector<FrontierPoint> equal_points(Ranks& ranks) {
  std::int64_t largest = kLargestBatch, takers = 0;
  for (const Ranks::Class& alike : ranks.classes()) {
    const std::int64_t holds = ranks.cost(alike.first_rank).largest();
    if (holds == 0) continue;
    largest = std::min(largest, holds);
    takers += alike.ranks;
  }
  std::vector<FrontierPoint> points(static_cast<std::size_t>(largest));
  for (std::int64_t batch = largest; batch >= 1; --batch) {  // from the top, so that tables are made once
    double seconds = ranks.largest_fixed();
    for (const Ranks::Class& alike : ranks.classes()) {
      if (ranks.cost(alike.first_rank).largest() > 0)
        seconds = std::max(seconds, ranks.finish(alike.first_rank, batch));
    }
    const double step = ranks.model().step_seconds(seconds);
    points[static_cast<std::size_t>(batch - 1)] = {takers * batch, step, static_cast<double>(takers * batch) / step};
  }
  return points;
}

/// The most that is allowed.
std::int64_t limit_of(std::int64_t equal_total, std::int64_t largest, const SolverOptions& options) {
  auto limit = static_cast<double>(largest);
  if (options.total_bound > 0)
    limit = std::min(limit, std::ceil(options.total_bound * static_cast<double>(equal_total)));
  if (options.largest_total > 0) limit = std::min(limit, static_cast<double>(options.largest_total));
  return static_cast<std::int64_t>(limit);
}

/// The best point of each band of totals (a constant factor wide), those that were chosen, and the last.
std::vector<FrontierPoint> thinned(const std::vector<FrontierPoint>& points, const Best& chosen) {
  const double band_width = std::max(std::log(static_cast<double>(points.back().total)) / kBands, 1e-9);
  std::map<std::int64_t, FrontierPoint> bands, by_total;
  for (const FrontierPoint& point : {points.back(), chosen.best, chosen.enough}) by_total.emplace(point.total, point);
  for (const FrontierPoint& point : points) {
    const auto band = static_cast<std::int64_t>(std::log(static_cast<double>(point.total)) / band_width);
    const auto [entry, is_new] = bands.emplace(band, point);
    if (!is_new && point.samples_per_second > entry->second.samples_per_second * kTie) entry->second = point;
  }
  for (const auto& [band, point] : bands) by_total.emplace(point.total, point);
  std::vector<FrontierPoint> kept;
  for (const auto& [total, point] : by_total) kept.push_back(point);
  return kept;
}

}  // namespace

Frontier sweep_totals(Ranks& ranks, const SolverOptions& options) {
  const std::vector<FrontierPoint> points = all_points(ranks), equal = equal_points(ranks);
  TotalChoice choice;
  const std::int64_t takers = equal.front().total;
  const std::int64_t enough = best_of(equal, equal.back().total, options.throughput_share).enough.total;
  choice.equal_total = (enough + takers - 1) / takers * takers;
  choice.limit = limit_of(choice.equal_total, points.back().total, options);
  const Best found = best_of(points, choice.limit, options.throughput_share);
  choice.total = found.enough.total;
  choice.samples_per_second = found.enough.samples_per_second;
  choice.best_total = found.best.total;
  choice.best_samples_per_second = found.best.samples_per_second;
  return {choice, thinned(points, found)};
}

}  // namespace lshdp::plan
