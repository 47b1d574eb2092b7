// The sweep over all totals.
#include "frontier.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"

namespace lshdp::plan {
namespace {

constexpr std::int64_t kMostEvents = std::int64_t{1} << 25;  // of 16 bytes
constexpr double kBands = 60;
constexpr double kTie = 1 + 1e-9;  // a larger total must be faster by more than this

/// At `seconds`, `ranks` ranks that are alike finish one sample more each.
struct Event {
  double seconds;
  std::int64_t ranks;
};

std::vector<Event> events_in_order(Ranks& ranks) {
  std::int64_t count = 0;
  for (const Ranks::Class& alike : ranks.classes()) count += ranks.cost(alike.first_rank).largest();
  if (count > kMostEvents) {
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

/// Keeps the best point of each band of totals (a constant factor wide), the best of all and the last.
class Thinned {
 public:
  explicit Thinned(std::int64_t largest_total)
      : band_width_(std::max(std::log(static_cast<double>(largest_total)) / kBands, 1e-9)) {}

  void add(std::int64_t total, double step_seconds) {
    last_ = {total, step_seconds, static_cast<double>(total) / step_seconds};
    const auto band = static_cast<std::int64_t>(std::log(static_cast<double>(total)) / band_width_);
    const auto [entry, is_new] = bands_.emplace(band, last_);
    if (!is_new && last_.samples_per_second > entry->second.samples_per_second * kTie) entry->second = last_;
    if (last_.samples_per_second > best_.samples_per_second * kTie) best_ = last_;
  }

  Frontier frontier() const {
    std::map<std::int64_t, FrontierPoint> by_total{{best_.total, best_}, {last_.total, last_}};
    for (const auto& [band, point] : bands_) by_total.emplace(point.total, point);
    Frontier frontier{best_.total, {}};
    for (const auto& [total, point] : by_total) frontier.points.push_back(point);
    return frontier;
  }

 private:
  double band_width_;
  std::map<std::int64_t, FrontierPoint> bands_;
  FrontierPoint best_, last_;
};

}  // namespace

Frontier sweep_totals(Ranks& ranks) {
  const std::vector<Event> events = events_in_order(ranks);
  const double least = ranks.largest_fixed();
  Thinned thinned(ranks.largest_total());
  std::int64_t total = 0;
  for (std::size_t i = 0; i < events.size(); ++i) {
    total += events[i].ranks;
    const double seconds = std::max(events[i].seconds, least);
    const bool more_in_this_time = i + 1 < events.size() && events[i + 1].seconds <= seconds;
    if (!more_in_this_time) thinned.add(total, ranks.model().step_seconds(seconds));
  }
  return thinned.frontier();
}

}  // namespace lshdp::plan
