// Measures how far the ranks of a pipeline have drifted from their profile, and cuts it again where it pays.
#include "lshdp/plan/stage_rebalance.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "best_cut.h"
#include "filled_layout.h"
#include "layout_cost.h"
#include "lshdp/plan/layout_prediction.h"
#include "pipeline_cost.h"

namespace lshdp::plan {
namespace {

/// Of a block that goes to another rank: values and both moments, and what is not trained.
double carried_bytes(const PipelineCost& cost, BlockRange range) {
  const double master = cost.profile().strategy.precision == Precision::fp64 ? 8 : 4;
  return 3 * master * static_cast<double>(cost.blocks().parameters(range)) +
         static_cast<double>(cost.blocks().frozen_bytes(range));
}

std::size_t holder_of(const Replica& replica, std::size_t block) {
  for (const Stage& stage : replica.stages) {
    if (block >= stage.start && block < stage.end) return rank_of(stage);
  }
  throw std::invalid_argument("a layout that lacks a block");
}

/// By rank: bytes of blocks that it keeps or gives away, and of those that come or go.
struct Carried {
  std::vector<double> held, coming, going;
};

Carried carried(const PipelineCost& cost, const Replica& from, const Replica& to) {
  const std::size_t ranks = cost.profile().ranks.size();
  Carried bytes{std::vector<double>(ranks), std::vector<double>(ranks), std::vector<double>(ranks)};
  for (std::size_t block = 0; block < cost.blocks().blocks(); ++block) {
    const double of_block = carried_bytes(cost, {block, block + 1});
    const std::size_t had = holder_of(from, block), has = holder_of(to, block);
    bytes.held[had] += of_block;
    if (had == has) continue;
    bytes.going[had] += of_block;
    bytes.coming[has] += of_block;
  }
  return bytes;
}

bool fits_move(const PipelineCost& cost, const Replica& from, const Replica& to) {
  const Carried bytes = carried(cost, from, to);
  for (std::size_t rank = 0; rank < bytes.held.size(); ++rank) {
    const auto memory = static_cast<double>(cost.profile().ranks[rank].memory_bytes);
    if (memory > 0 && bytes.held[rank] + bytes.coming[rank] > memory) return false;
  }
  return true;
}

bool same_cuts(const Layout& one, const Layout& other) {
  return std::ranges::equal(one.replicas.front().stages, other.replicas.front().stages, {}, &Stage::end, &Stage::end);
}

Profile bounded(Profile profile, double memory_share) {
  for (RankProfile& rank : profile.ranks)
    rank.memory_bytes = static_cast<std::int64_t>(memory_share * static_cast<double>(rank.memory_bytes));
  return profile;
}

}  // namespace

double move_seconds(const Profile& profile, const Layout& from, const Layout& to) {
  const PipelineCost cost(profile, largest_micro_batch(from));
  const Carried bytes = carried(cost, from.replicas.front(), to.replicas.front());
  double seconds = 0;
  for (std::size_t rank = 0; rank < profile.ranks.size(); ++rank) {
    const double rate = cost.link_rate(rank);
    if (rate > 0) seconds = std::max(seconds, std::max(bytes.coming[rank], bytes.going[rank]) / rate);
  }
  return seconds;
}

StageRebalancer::StageRebalancer(Layout layout, Profile profile, const StageRebalanceOptions& options)
    : layout_(std::move(layout)),
      profile_(bounded(std::move(profile), options.memory_share)),
      options_(options),
      windows_(options.rebalance.window_seconds),
      slowness_(profile_.ranks.size(), 1.0),
      required_gain_(options.rebalance.min_gain) {
  if (layout_.replicas.size() != 1 || layout_.replicas.front().stages.size() < 2)
    throw std::invalid_argument("StageRebalancer: a layout that is not one pipeline");
  if (options_.needs.blocks == 0) options_.needs = needs_of(profile_);
  const PipelineCost known(profile_, largest_micro_batch(layout_));  // or it throws
}

void StageRebalancer::observe(const StepObservation& step) {
  seen_ = step.step;
  if (step.step >= first_step_) windows_.add(step);
}

/// The rank's work over what its profile says of it, as near to what was decided last as the figures allow: of the CPU
/// time of messages, what fell into its waiting did not lengthen its computing, and how much of it did is not known.
std::vector<double> StageRebalancer::slowness_in(Steps steps) const {
  const PipelineCost cost(profile_, largest_micro_batch(layout_));
  Layout complete = layout_;
  for (std::size_t stage = 0; stage < complete.replicas.front().stages.size(); ++stage)
    complete.replicas.front().stages[stage].in_flight = in_flight_of(layout_, 0, stage);
  const std::vector<double> profiled = layout_step(cost, complete).compute_seconds;
  std::vector<double> slowness = slowness_;
  for (std::size_t rank = 0; rank < slowness.size(); ++rank) {
    const double compute = median_compute_seconds(steps, rank);
    if (profiled[rank] <= 0 || compute <= 0) continue;  // it is left out
    const double messages =
        cost.transfer_seconds(rank, 2 * cost.message_bytes(layout_.replicas.front(), rank)) * slowness_[rank];
    const double least = compute / profiled[rank];
    const double most = (compute + std::min(messages, median_wait_seconds(steps, rank))) / profiled[rank];
    slowness[rank] = rounded_slowness(std::clamp(slowness_[rank], least, most));
  }
  return slowness;
}

/// Within the steps that are left.
bool StageRebalancer::pays(const Recut& change) const {
  std::int64_t steps = options_.horizon;
  if (options_.last_step > 0) steps = std::min(steps, options_.last_step - seen_);
  const double saved = (change.step_seconds - change.expected_step_seconds) * static_cast<double>(steps);
  return saved > move_seconds(profile_, layout_, change.layout);
}

std::optional<Recut> StageRebalancer::decide() {
  const Steps steps = windows_.last();
  if (steps.empty()) return std::nullopt;
  const std::size_t window = steps.size() / StepWindows::kWindows;
  const double step_seconds = median_step_seconds(steps);
  required_gain_.judge(step_seconds);
  const std::vector<double> earlier = slowness_in(steps.first(window)), later = slowness_in(steps.last(window));
  slowness_ = slowness_in(steps);
  const Profile now = slowed(profile_, slowness_);
  const PipelineCost cost(now, largest_micro_batch(layout_));
  const auto may = [&](const Replica& replica) { return fits_move(cost, layout_.replicas.front(), replica); };
  const std::optional<Layout> best = best_cut(cost, layout_, options_.needs, may);
  if (!best || same_cuts(*best, layout_)) return std::nullopt;
  Recut change{.layout = *best, .slowness = slowness_, .step_seconds = step_seconds};
  for (const std::vector<double>& seen : {earlier, later, slowness_}) {
    const Profile then = slowed(profile_, seen);
    const PipelineCost as_seen(then, largest_micro_batch(layout_));
    const double so_far = step_seconds_of(as_seen, layout_), next = step_seconds_of(as_seen, *best);
    const double gain = (so_far - next) / std::max(so_far, step_seconds);
    if (gain < required_gain_.now()) return std::nullopt;
    change.expected_step_seconds = step_seconds * (1 - gain);  // in the end by both windows together
  }
  if (!pays(change)) return std::nullopt;
  return change;
}

void StageRebalancer::apply(const Recut& change, std::int64_t first) {
  layout_ = change.layout;
  slowness_ = change.slowness;
  required_gain_.promise(change.step_seconds, change.expected_step_seconds);
  first_step_ = first;
  windows_.clear();
}

}  // namespace lshdp::plan
