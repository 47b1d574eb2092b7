// The events of a step of a pipeline: ranks wake up when they are free and when a message arrives.
#include "lshdp/plan/stage_schedule.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <queue>
#include <utility>

namespace lshdp::plan {
namespace {

using Kind = StageWork::Kind;
using Seconds = std::vector<std::vector<double>>;  // [stage][micro-batch]

constexpr double kNever = std::numeric_limits<double>::infinity();

/// A stage in mid-step. Micro-batches pass it in rising order, so that two counts say which are done.
struct StageState {
  std::size_t rank = 0;  // index of its timeline
  std::size_t forwards = 0, backwards = 0;
  std::size_t in_flight = 1;
  /// Largest in_flight of GPipe that the stages before let through.
  std::size_t gpipe_in_flight = 1;
  std::vector<double> input = {}, gradient = {};  // by micro-batch: when it is there
  double input_link_free = 0, gradient_link_free = 0;
};

class Simulation {
 public:
  Simulation(const Replica& replica, PipelineSchedule schedule, const std::vector<std::int64_t>& in_flight,
             const StageCosts& costs)
      : schedule_(schedule), costs_(costs), micro_batches_(costs.forward_seconds.front().size()) {
    for (const Stage& stage : replica.stages) add_stage(stage, in_flight.at(stages_.size()));
    stages_.front().input.assign(micro_batches_, 0.0);
    free_at_.assign(timelines_.size(), 0.0);
    for (std::size_t rank = 0; rank < timelines_.size(); ++rank) wake_up(rank, 0.0);
  }

  std::vector<RankTimeline> run() {
    while (!wake_ups_.empty()) {
      const auto [now, rank] = wake_ups_.top();
      wake_ups_.pop();
      // It may have woken up for another message meanwhile.
      if (free_at_[rank] > now) continue;
      if (const auto work = next_work(rank, now)) start(*work, now);
    }
    return std::move(timelines_);
  }

 private:
  void add_stage(const Stage& stage, std::int64_t in_flight) {
    StageState state{.rank = timeline_of(stage.rank), .in_flight = static_cast<std::size_t>(in_flight)};
    state.gpipe_in_flight =
        stages_.empty() ? state.in_flight : std::min(state.in_flight, stages_.back().gpipe_in_flight);
    state.input.assign(micro_batches_, kNever);
    state.gradient.assign(micro_batches_, kNever);
    stages_.push_back(std::move(state));
    stages_of_rank_[stages_.back().rank].push_back(stages_.size() - 1);
  }

  std::size_t timeline_of(std::int64_t rank) {
    const auto found = std::ranges::find(timelines_, rank, &RankTimeline::rank);
    if (found != timelines_.end()) return static_cast<std::size_t>(found - timelines_.begin());
    timelines_.push_back({rank, {}});
    stages_of_rank_.emplace_back();
    return timelines_.size() - 1;
  }

  void wake_up(std::size_t rank, double seconds) { wake_ups_.emplace(seconds, rank); }

  bool can_forward(const StageState& stage, double now) const {
    return stage.forwards < micro_batches_ && stage.forwards - stage.backwards < stage.in_flight &&
           stage.input[stage.forwards] <= now;
  }

  bool can_backward(const StageState& stage, double now) const {
    if (stage.backwards == stage.forwards || stage.gradient[stage.backwards] > now) return false;
    if (schedule_ == PipelineSchedule::one_f_one_b) return true;
    // All forwards of the step come first, or as many as memory allows: of this stage, or of one before it, which
    // would wait for this backward for ever.
    return stage.forwards >= std::min(micro_batches_, stage.backwards + stage.gpipe_in_flight);
  }

  /// Of the latest stage of `rank` that can do `kind`.
  std::optional<StageWork> latest(std::size_t rank, Kind kind, double now) const {
    const std::vector<std::size_t>& own = stages_of_rank_[rank];
    for (auto index = own.rbegin(); index != own.rend(); ++index) {
      const StageState& stage = stages_[*index];
      if (kind == Kind::forward && can_forward(stage, now)) return StageWork{kind, *index, stage.forwards};
      if (kind == Kind::backward && can_backward(stage, now)) return StageWork{kind, *index, stage.backwards};
    }
    return std::nullopt;
  }

  std::optional<StageWork> next_work(std::size_t rank, double now) const {
    // A forward has the longer way before it. Where the backward came first, one that was due a moment too late let
    // all those wait that come after it: steps of pipelines that come back were 6 % longer, and 18 % at worst.
    const auto forward = latest(rank, Kind::forward, now);
    return forward ? forward : latest(rank, Kind::backward, now);
  }

  void start(const StageWork& work, double now) {
    StageState& stage = stages_[work.stage];
    const Seconds& seconds = work.kind == Kind::forward ? costs_.forward_seconds : costs_.backward_seconds;
    const double end = now + seconds[work.stage][work.micro_batch];
    timelines_[stage.rank].work.push_back({work, now, end});
    free_at_[stage.rank] = end;
    if (work.kind == Kind::forward) {
      finish_forward(work, end);
    } else {
      finish_backward(work, end);
    }
    wake_up(stage.rank, end);
  }

  void finish_forward(const StageWork& work, double end) {
    ++stages_[work.stage].forwards;
    if (work.stage + 1 == stages_.size()) {
      stages_[work.stage].gradient[work.micro_batch] = end;
      return;
    }
    StageState& next = stages_[work.stage + 1];
    next.input_link_free = std::max(next.input_link_free, end) + costs_.send_seconds[work.stage][work.micro_batch];
    next.input[work.micro_batch] = next.input_link_free;
    wake_up(next.rank, next.input_link_free);
  }

  void finish_backward(const StageWork& work, double end) {
    ++stages_[work.stage].backwards;
    if (work.stage == 0) return;
    StageState& before = stages_[work.stage - 1];
    before.gradient_link_free =
        std::max(before.gradient_link_free, end) + costs_.send_seconds[work.stage - 1][work.micro_batch];
    before.gradient[work.micro_batch] = before.gradient_link_free;
    wake_up(before.rank, before.gradient_link_free);
  }

  using WakeUp =
      std::pair<double, std::size_t>;  // by time, then in the order of ranks: ties are broken alike everywhere

  PipelineSchedule schedule_;
  const StageCosts& costs_;
  std::size_t micro_batches_;
  std::vector<StageState> stages_;
  std::vector<RankTimeline> timelines_;
  std::vector<std::vector<std::size_t>> stages_of_rank_;  // by timeline, rising
  std::vector<double> free_at_;                           // by timeline
  std::priority_queue<WakeUp, std::vector<WakeUp>, std::greater<>> wake_ups_;
};

/// A second a block forward and two backward: layouts written by hand need an order, whatever the machines are.
StageTime usual_time(const Stage& stage) {
  const auto blocks = static_cast<double>(stage.end - stage.start);
  return {.forward_seconds = blocks, .backward_seconds = 2 * blocks, .send_seconds = 0};
}

/// By micro-batch. One product and one quotient: no machine may contract them into another result.
std::vector<double> in_proportion(double seconds, const std::vector<std::int64_t>& micro_batches, double largest) {
  std::vector<double> costs;
  for (const std::int64_t samples : micro_batches) costs.push_back(seconds * static_cast<double>(samples) / largest);
  return costs;
}

}  // namespace

StageCosts stated_costs(const Replica& replica, const std::vector<std::int64_t>& micro_batches) {
  const bool stated =
      std::ranges::all_of(replica.stages, [](const Stage& stage) { return stage.predicted.has_value(); });
  const auto largest = static_cast<double>(std::ranges::max(replica.micro_batches));
  StageCosts costs;
  for (const Stage& stage : replica.stages) {
    StageTime time = stated ? *stage.predicted : usual_time(stage);
    if (&stage == &replica.stages.back()) time.send_seconds = 0;
    costs.forward_seconds.push_back(in_proportion(time.forward_seconds, micro_batches, largest));
    costs.backward_seconds.push_back(in_proportion(time.backward_seconds, micro_batches, largest));
    costs.send_seconds.push_back(in_proportion(time.send_seconds, micro_batches, largest));
  }
  return costs;
}

std::vector<RankTimeline> simulate(const Replica& replica, PipelineSchedule schedule,
                                   const std::vector<std::int64_t>& in_flight, const StageCosts& costs) {
  return Simulation(replica, schedule, in_flight, costs).run();
}

std::vector<StageWork> work_order(const Layout& layout, std::size_t replica, std::int64_t rank,
                                  const std::vector<std::int64_t>& micro_batches) {
  const Replica& of = layout.replicas.at(replica);
  std::vector<std::int64_t> in_flight;
  for (std::size_t stage = 0; stage < of.stages.size(); ++stage)
    in_flight.push_back(in_flight_of(layout, replica, stage));
  std::vector<StageWork> order;
  for (const RankTimeline& timeline : simulate(of, layout.schedule, in_flight, stated_costs(of, micro_batches))) {
    if (timeline.rank != rank) continue;
    for (const TimedWork& timed : timeline.work) order.push_back(timed.work);
  }
  return order;
}

}  // namespace lshdp::plan
