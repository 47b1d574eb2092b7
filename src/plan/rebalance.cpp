// Measures how far ranks have drifted from their profile, and solves again where it pays.
#include "lshdp/plan/rebalance.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "lshdp/plan/solver.h"
#include "step_model.h"
#include "time_curve.h"

namespace lshdp::plan {
namespace {

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

Profile learnt_profile(const Plan& plan, Steps steps) {
  Profile profile;
  profile.model = plan.model;
  profile.strategy = plan.strategy.value_or(Strategy{});
  for (std::size_t rank = 0; rank < plan.ranks.size(); ++rank) {
    profile.ranks.push_back(learnt_rank(plan.ranks[rank], median_compute_seconds(steps, rank)));
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
      windows_(options.window_seconds),
      slowness_(plan_.ranks.size(), 1.0),
      required_gain_(options.min_gain) {}

void Rebalancer::observe(const StepObservation& step) {
  if (step.step < first_step_) return;
  windows_.add(step);
  // Every rank learns: each cuts its own batch into micro-batches later.
  if (!profile_ && !windows_.last().empty()) profile_ = learnt_profile(plan_, windows_.last());
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
  return rounded_slowness(std::clamp(before, least, most));
}

std::vector<double> Rebalancer::slowness_in(Steps steps) const {
  const StepModel model(*profile_, plan_.shard_weights);
  std::vector<double> slowness;
  for (std::size_t rank = 0; rank < plan_.ranks.size(); ++rank) {
    slowness.push_back(slowness_of(rank, model, median_compute_seconds(steps, rank), median_wait_seconds(steps, rank)));
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

std::optional<Rebalance> Rebalancer::decide() {
  const Steps steps = windows_.last();
  if (steps.empty() || !profile_) return std::nullopt;
  const std::size_t window = steps.size() / StepWindows::kWindows;
  const double step_seconds = median_step_seconds(steps);
  required_gain_.judge(step_seconds);
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
    if (gain < required_gain_.now()) return std::nullopt;
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
  required_gain_.promise(change.step_seconds, change.expected_step_seconds);
  first_step_ = first;
  windows_.clear();
}

}  // namespace lshdp::plan
