// Cuts that are moved while the simulated step gets shorter.
#include "best_cut.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "bottleneck.h"
#include "filled_layout.h"
#include "in_flight.h"
#include "layout_cost.h"
#include "pipeline_moves.h"
#include "stage_loads.h"

namespace lshdp::plan {
namespace {

constexpr double kBetter = 1 - 1e-9;
constexpr std::int64_t kMostWorks = 1'000'000;  // simulated, of about 0.1 us each

PipelineShape shape_of(const Replica& replica) {
  PipelineShape shape;
  for (const Stage& stage : replica.stages) {
    shape.ranks.push_back(rank_of(stage));
    shape.ends.push_back(stage.end);
  }
  return shape;
}

/// What a first stage may hold on top of its schedule, of `count` micro-batches.
std::vector<std::int64_t> flights_of(const Layout& layout, std::size_t count) {
  if (layout.schedule == PipelineSchedule::gpipe) return {0};
  std::vector<std::int64_t> flights{0};
  for (std::int64_t more = 1; more < static_cast<std::int64_t>(2 * count); more *= 2)
    flights.push_back(std::min(more, static_cast<std::int64_t>(count)));
  return flights;
}

/// One search.
class Search {
 public:
  Search(const PipelineCost& cost, const Layout& layout, const LayoutNeeds& needs,
         const std::function<bool(const Replica&)>& may)
      : cost_(cost), layout_(layout), rules_(needs), may_(may) {}

  std::optional<Layout> best() {
    const Replica& replica = layout_.replicas.front();
    const PipelineShape now = shape_of(replica);
    climb_from(now);
    const std::vector<std::size_t> order = order_of(now);
    const StageLoads loads(cost_, order, replica.micro_batches);
    const Bottleneck bottleneck(loads, rules_, [](std::size_t, BlockRange, std::size_t) { return true; });
    if (const auto cut = bottleneck.cut(order, now.comes_back())) climb_from(*cut);
    if (!best_) return std::nullopt;
    return filled(cost_, best_->layout, layout_step(cost_, best_->layout)).layout;
  }

 private:
  struct Found {
    Layout layout;
    double seconds = 0;
  };

  /// With the in_flight for which it is fastest.
  std::optional<Found> rate(const PipelineShape& shape) {
    std::optional<Found> best;
    if (!rules_.allows(shape)) return best;
    for (const std::int64_t more : flights_of(layout_, layout_.replicas.front().micro_batches.size())) {
      Found found{layout_, 0};
      Replica& replica = found.layout.replicas.front();
      for (std::size_t stage = 0; stage < replica.stages.size(); ++stage) {
        replica.stages[stage].start = shape.start(stage);
        replica.stages[stage].end = shape.ends[stage];
      }
      set_in_flight(cost_, replica, layout_.schedule, more, 1);
      if (misfit_of(cost_, replica, 1) || !may_(replica)) break;
      spent_ += static_cast<std::int64_t>(2 * replica.micro_batches.size() * replica.stages.size());
      found.seconds = layout_step(cost_, found.layout).seconds;
      if (!best || found.seconds < kBetter * best->seconds) best = std::move(found);
    }
    return best;
  }

  void climb_from(PipelineShape shape) {
    std::optional<Found> here = rate(shape);
    bool better = true;
    while (better && spent_ < kMostWorks) {
      better = false;
      for (const PipelineShape& next : moved_cuts(shape)) {
        if (!tried_.insert(next.ends).second) continue;
        std::optional<Found> found = rate(next);
        if (!found || (here && found->seconds >= kBetter * here->seconds)) continue;
        here = std::move(found);
        shape = next;
        better = true;
        break;
      }
    }
    if (here && (!best_ || here->seconds < kBetter * best_->seconds)) best_ = std::move(here);
  }

  const PipelineCost& cost_;
  const Layout& layout_;
  CutRules rules_;
  const std::function<bool(const Replica&)>& may_;
  std::set<std::vector<std::size_t>> tried_;  // ends
  std::int64_t spent_ = 0;
  std::optional<Found> best_;
};

}  // namespace

double step_seconds_of(const PipelineCost& cost, const Layout& layout) {
  Layout complete = layout;
  for (std::size_t stage = 0; stage < complete.replicas.front().stages.size(); ++stage)
    complete.replicas.front().stages[stage].in_flight = in_flight_of(layout, 0, stage);
  return layout_step(cost, complete).seconds;
}

std::optional<Layout> best_cut(const PipelineCost& cost, const Layout& layout, const LayoutNeeds& needs,
                               const std::function<bool(const Replica&)>& may) {
  return Search(cost, layout, needs, may).best();
}

}  // namespace lshdp::plan
