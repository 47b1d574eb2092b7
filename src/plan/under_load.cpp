// Measured over modelled, for each rank and for the boundary.
#include "lshdp/plan/under_load.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "lshdp/plan/rebalance.h"
#include "step_model.h"
#include "time_curve.h"

namespace lshdp::plan {
namespace {

/// Beyond this it was a disturbance, and no property of the hardware.
double clamp_contention_factor(double load) { return std::clamp(load, 0.5, 4.0); }
/// What a step exposes beside its boundary grows with all bytes in fsdp, and with copies where parameters stream: it is
/// many times what the first block's bytes take.
double clamp_exposed_factor(double load) { return std::clamp(load, 0.5, 64.0); }

SplitTime planned_time(const RankProfile& rank, const RankPlan& planned, const StepModel& model) {
  return split_time(TimeCurve(rank), model.wire(), planned.micro_batches);
}

/// What a step of `plan` takes beside its boundary.
double step_without_exposed(const Profile& profile, const Plan& plan) {
  const StepModel model(profile, plan.shard_weights);
  double seconds = model.wire_seconds;
  for (std::size_t r = 0; r < profile.ranks.size(); ++r) {
    if (plan.ranks[r].batch == 0) continue;
    const SplitTime time = planned_time(profile.ranks[r], plan.ranks[r], model);
    seconds = std::max({seconds, time.seconds + model.fixed_seconds[r], time.network});
  }
  return seconds;
}

/// So that the ranks' transfers take `cpu_seconds` in a step, on average.
void charge_transfers(Profile& profile, const Plan& plan, double cpu_seconds) {
  const std::vector<double> moved = moved_bytes(profile, plan.shard_weights);
  const double mean = std::accumulate(moved.begin(), moved.end(), 0.0) / static_cast<double>(moved.size());
  if (cpu_seconds > 0 && mean > 0) profile.network.cpu_seconds_per_byte = cpu_seconds / mean;
}

Profile with_loads(Profile profile, const std::vector<double>& loads) {
  profile = slowed(std::move(profile), loads);
  for (std::size_t r = 0; r < loads.size(); ++r) profile.ranks[r].contention_factor *= loads[r];
  return profile;
}

}  // namespace

Profile under_load(Profile profile, const Plan& plan, const MeasuredSteps& steps) {
  charge_transfers(profile, plan, steps.transfer_cpu_seconds);
  const StepModel model(profile, plan.shard_weights);
  std::vector<double> loads(profile.ranks.size(), 1.0);
  for (std::size_t r = 0; r < profile.ranks.size(); ++r) {
    if (plan.ranks[r].batch == 0) continue;
    const double alone = planned_time(profile.ranks[r], plan.ranks[r], model).seconds + model.fixed_seconds[r];
    loads[r] = clamp_contention_factor(steps.compute_seconds[r] / alone);
  }
  profile = with_loads(std::move(profile), loads);
  const double exposed = steps.step_seconds - step_without_exposed(profile, plan);
  if (model.exposed_seconds > 0)
    profile.network.exposed_factor *= clamp_exposed_factor(exposed / model.exposed_seconds);
  return profile;
}

Profile under_load(Profile profile, const Layout& layout, const MeasuredSteps& steps) {
  std::vector<double> loads(profile.ranks.size(), 1.0);
  for (std::size_t r = 0; r < loads.size(); ++r) {
    const double predicted = layout.predicted.compute_seconds.at(r);
    if (predicted > 0) loads[r] = clamp_contention_factor(steps.compute_seconds[r] / predicted);
  }
  return with_loads(std::move(profile), loads);
}

}  // namespace lshdp::plan
