// Measures how far ranks have drifted from their profile, and solves again where it pays.
#include "lshdp/plan/rebalance.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "lshdp/core/median.h"
#include "lshdp/plan/solver.h"
#include "step_model.h"
#include "time_curve.h"

namespace lshdp::plan {
namespace {

constexpr std::size_t kMinWindow = 3, kMaxWindow = 10;  // steps whose median counts
constexpr std::size_t kWindows = 2;                     // that must agree
constexpr double kHardestGain = 0.4;                    // never is more asked of a new split
constexpr double kForgiven = 0.9;       // what is asked above the least shrinks by this with each decision
constexpr double kResolution = 1.0025;  // slowness in steps of this: ranks alike stay alike and share one table

/// Median over steps of a figure that `figure(step)` picks.
template <typename Figure>
double median_of(std::span<const StepObservation> steps, Figure figure) {
  std::vector<double> values;
  for (const StepObservation& step : steps) values.push_back(figure(step));
  return median(std::move(values));
}

double median_step(std::span<const StepObservation> steps) {
  return median_of(steps, [](const StepObservation& step) { return step.step_seconds; });
}

double rounded(double slowness) {
  return std::exp(std::round(std::log(slowness) / std::log(kResolution)) * std::log(kResolution));
}

using Batches = std::vector<std::int64_t>;

/// A rank known by one batch only: time in proportion to samples, micro-batches up to the plan's largest.
RankProfile learnt_rank(const RankPlan& planned, double compute_seconds) {
  RankProfile rank;
  rank.rank = planned.rank;
  rank.host = planned.host;
  if (planned.batch == 0 || compute_seconds <= 0) return rank;
  rank.max_batch = *std::max_element(planned.micro_batches.begin(), planned.micro_batches.end());
  const double per_sample = compute_seconds / static_cast<double>(planned.batch);
  rank.curve.push_back({1, per_sample});
  if (rank.max_batch > 1) rank.curve.push_back({rank.max_batch, per_sample * static_cast<double>(rank.max_batch)});
  return rank;
}

Profile learnt_profile(const Plan& plan, std::span<const StepObservation> steps) {
  Profile profile;
  profile.model = plan.model;
  profile.strategy = plan.strategy.value_or(Strategy{});
  for (std::size_t rank = 0; rank < plan.ranks.size(); ++rank) {
    const double seconds = median_of(steps, [rank](const StepObservation& step) { return step.compute_seconds[rank]; });
    profile.ranks.push_back(learnt_rank(plan.ranks[rank], seconds));
  }
  return profile;
}

/// What the profile says of these micro-batches; 0 where it says nothing.
double micro_batch_seconds(const RankProfile& rank, const std::vector<std::int64_t>& micro_batches) {
  const TimeCurve curve(rank);
  if (curve.max_batch() == 0) return 0;
  double seconds = 0;
  for (const std::int64_t batch : micro_batches) {
    const std::int64_t known = std::min(batch, curve.max_batch());
    seconds += curve.seconds(known) * static_cast<double>(batch) / static_cast<double>(known);
  }
  return seconds;
}

}  // namespace

Profile slowed(Profile profile, std::span<const double> slowness) {
  for (std::size_t r = 0; r < profile.ranks.size(); ++r) {
    RankProfile& rank = profile.ranks[r];
    rank.update_seconds *= slowness[r];
    rank.cores /= slowness[r];
    for (CurvePoint& point : rank.curve) point.seconds *= slowness[r];
    for (BlockTimes& times : rank.block_times) {
      for (double& seconds : times.forward) seconds *= slowness[r];
      for (double& seconds : times.backward) seconds *= slowness[r];
    }
  }
  return profile;
}

Rebalancer::Rebalancer(Plan plan, std::optional<Profile> profile, const RebalanceOptions& options)
    : plan_(std::move(plan)),
      profile_(std::move(profile)),
      options_(options),
      slowness_(plan_.ranks.size(), 1.0),
      required_gain_(options.min_gain) {}

void Rebalancer::observe(const StepObservation& step) {
  if (step.step < first_step_) return;
  if (recent_.size() == kMaxWindow * kWindows) recent_.erase(recent_.begin());
  recent_.push_back(step);
  // Every rank learns: each cuts its own batch into micro-batches later.
  if (!profile_ && !last_windows().empty()) profile_ = learnt_profile(plan_, last_windows());
}

/// The steps of the last two windows; none before there are enough. Short steps make longer windows: a machine's
/// hiccups last as long as they last.
Rebalancer::Steps Rebalancer::last_windows() const {
  const Steps steps(recent_);
  if (steps.size() < kMinWindow * kWindows) return {};
  const double fitting = std::ceil(options_.window_seconds / std::max(median_step(steps.last(kMinWindow)), 1e-9));
  const auto window = static_cast<std::size_t>(std::clamp(fitting, double{kMinWindow}, double{kMaxWindow}));
  return steps.size() < window * kWindows ? Steps() : steps.last(window * kWindows);
}

/// The rank's work over what its profile says of it, as near to what was decided last as the figures allow: of the CPU
/// time of transfers on the rank's core, what fell into its waiting did not lengthen its computing, and how much of it
/// did is not known.
double Rebalancer::slowness_of(std::size_t rank, const StepModel& model, double compute_seconds,
                               double wait_seconds) const {
  const double update = model.update_seconds[rank], transfers = model.fixed_seconds[rank] - update;
  const RankProfile& measured = profile_->ranks[rank];
  const double before = slowness_[rank];
  const bool idle = plan_.ranks[rank].batch == 0;
  const double work = idle ? 0 : micro_batch_seconds(measured, plan_.ranks[rank].micro_batches);
  if (compute_seconds <= 0 || work + update <= 0 || (!idle && work <= 0)) return before;
  // Without samples nothing but the update is timed, and transfers are all in the waiting.
  const double profiled = work + update + (idle ? 0 : transfers);
  const double least = compute_seconds / profiled;
  const double most = idle ? least : (compute_seconds + std::min(transfers * before, wait_seconds)) / profiled;
  return rounded(std::clamp(before, least, most));
}

std::vector<double> Rebalancer::slowness_in(Steps steps) const {
  const StepModel model(*profile_, plan_.shard_weights);
  std::vector<double> slowness;
  for (std::size_t rank = 0; rank < plan_.ranks.size(); ++rank) {
    const double compute = median_of(steps, [rank](const StepObservation& s) { return s.compute_seconds[rank]; });
    const double wait = median_of(steps, [rank](const StepObservation& s) { return s.wait_seconds[rank]; });
    slowness.push_back(slowness_of(rank, model, compute, wait));
  }
  return slowness;
}

/// The share of the step that `batches` would save. Where the step took longer than the model says (a network that was
/// not profiled), the rest of it stays.
double Rebalancer::gain_of(const Batches& batches, const std::vector<double>& slowness, double step_seconds) const {
  const Profile now = slowed(*profile_, slowness);
  const auto so_far = predict(now, batches_of(plan_), options_.max_accumulation, plan_.shard_weights);
  const auto then = predict(now, batches, options_.max_accumulation, plan_.shard_weights);
  if (!so_far || !then) return 0;
  return (so_far->step_seconds - then->step_seconds) / std::max(so_far->step_seconds, step_seconds);
}

/// A split that brought less than half of what it promised was chosen by noise, or by a model that is wrong here.
void Rebalancer::judge_last_change(double step_seconds) {
  required_gain_ = std::max(options_.min_gain, required_gain_ * kForgiven);
  if (!last_change_) return;
  const double promised = last_change_->step_seconds - last_change_->expected_step_seconds;
  if (last_change_->step_seconds - step_seconds < promised / 2) {
    required_gain_ = std::min(2 * required_gain_, std::max(kHardestGain, options_.min_gain));
  }
  last_change_.reset();
}

std::optional<Rebalance> Rebalancer::decide() {
  const Steps steps = last_windows();
  if (steps.empty() || !profile_) return std::nullopt;
  const std::size_t window = steps.size() / kWindows;
  const double step_seconds = median_step(steps);
  judge_last_change(step_seconds);
  const std::vector<double> earlier = slowness_in(steps.first(window)), later = slowness_in(steps.last(window));
  slowness_ = slowness_in(steps);
  const SolverOptions solver{
      .total = plan_.total, .max_accumulation = options_.max_accumulation, .shards = plan_.shard_weights};
  Rebalance change{.batches = batches_of(solve(slowed(*profile_, slowness_), solver).plan),
                   .slowness = slowness_,
                   .step_seconds = step_seconds};
  if (change.batches == batches_of(plan_)) return std::nullopt;
  for (const std::vector<double>& seen : {earlier, later, slowness_}) {
    const double gain = gain_of(change.batches, seen, step_seconds);
    if (gain < required_gain_) return std::nullopt;
    change.expected_step_seconds = step_seconds * (1 - gain);  // in the end by both windows together
  }
  return change;
}

void Rebalancer::apply(const Rebalance& change, std::int64_t first) {
  if (!profile_) throw std::logic_error("Rebalancer: a change before anything was observed");
  Plan plan =
      plan_for(slowed(*profile_, change.slowness), change.batches, options_.max_accumulation, plan_.shard_weights);
  for (std::size_t rank = 0; rank < plan.ranks.size(); ++rank) plan.ranks[rank].host = plan_.ranks[rank].host;
  plan.transfer = plan_.transfer;
  plan_ = std::move(plan);
  slowness_ = change.slowness;
  last_change_ = change;
  first_step_ = first;
  recent_.clear();
}

}  // namespace lshdp::plan
