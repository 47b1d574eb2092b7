// How rank 0's cuts reach the others.
#include "stage_rebalancing.h"

#include <utility>

namespace lshdp::train {
namespace {

// A message: these figures, then each stage's end and in_flight, then each rank's slowness. Whole numbers below 2^53
// are exact.
enum Field : std::size_t { kChanged, kStepSeconds, kExpectedSeconds, kFields };

std::vector<std::int64_t> cuts_of(const plan::Layout& layout) {
  std::vector<std::int64_t> ends;
  for (const plan::Stage& stage : layout.replicas.front().stages) ends.push_back(static_cast<std::int64_t>(stage.end));
  return ends;
}

}  // namespace

StageChange stage_change(const plan::Layout& from, const plan::Layout& to, std::size_t ranks, std::int64_t step) {
  const std::vector<std::int64_t> batches = plan::batches_of(plan::plan_of(to, ranks));
  const std::vector<double> slowness(ranks, 1.0);
  RebalanceRecord record{.step = step,
                         .batches_before = batches,
                         .batches = batches,
                         .slowness_before = slowness,
                         .slowness = slowness,
                         .cuts_before = cuts_of(from),
                         .cuts = cuts_of(to)};
  return {to, std::move(record)};
}

StageRebalancing::StageRebalancing(comm::Communicator& communicator, const plan::Layout& layout,
                                   const plan::Profile& profile, std::int64_t every,
                                   const plan::StageRebalanceOptions& options)
    : communicator_(communicator),
      every_(every),
      rebalancer_(layout, profile, options),
      slowness_(profile.ranks.size(), 1.0),
      message_(communicator) {}

void StageRebalancing::observe(const StepRecord& step) {
  rebalancer_.observe({step.step, step.step_seconds, step.compute_seconds, step.wait_seconds});
}

std::optional<StageChange> StageRebalancing::end_step(std::int64_t step) {
  std::optional<StageChange> change;
  if (const auto recut = receive()) {
    change = stage_change(rebalancer_.layout(), recut->layout, slowness_.size(), step + 1);
    change->record.slowness_before = std::exchange(slowness_, recut->slowness);
    change->record.slowness = recut->slowness;
    change->record.step_seconds = recut->step_seconds;
    change->record.expected_step_seconds = recut->expected_step_seconds;
    rebalancer_.apply(*recut, step + 1);
  }
  if (step % every_ == 0) send();
  return change;
}

void StageRebalancing::send() {
  const std::size_t stages = rebalancer_.layout().replicas.front().stages.size(), ranks = slowness_.size();
  std::vector<double> message(kFields + 2 * stages + ranks, 0);
  if (communicator_.rank() == 0) {
    if (const auto change = rebalancer_.decide()) {
      message[kChanged] = 1;
      message[kStepSeconds] = change->step_seconds;
      message[kExpectedSeconds] = change->expected_step_seconds;
      for (std::size_t s = 0; s < stages; ++s) {
        const plan::Stage& stage = change->layout.replicas.front().stages[s];
        message[kFields + s] = static_cast<double>(stage.end);
        message[kFields + stages + s] = static_cast<double>(stage.in_flight.value());
      }
      for (std::size_t r = 0; r < ranks; ++r) message[kFields + 2 * stages + r] = change->slowness[r];
      predicted_ = change->layout;
    }
  }
  message_.send(std::move(message));
}

std::optional<plan::Recut> StageRebalancing::receive() {
  const std::optional<std::vector<double>> message = message_.receive();
  if (!message || (*message)[kChanged] == 0) return std::nullopt;
  plan::Recut change{.layout = predicted_.value_or(rebalancer_.layout()),
                     .slowness = {},
                     .step_seconds = (*message)[kStepSeconds],
                     .expected_step_seconds = (*message)[kExpectedSeconds]};
  predicted_.reset();
  std::vector<plan::Stage>& stages = change.layout.replicas.front().stages;
  for (std::size_t s = 0; s < stages.size(); ++s) {
    stages[s].start = s == 0 ? 0 : stages[s - 1].end;
    stages[s].end = static_cast<std::size_t>((*message)[kFields + s]);
    stages[s].in_flight = static_cast<std::int64_t>((*message)[kFields + stages.size() + s]);
  }
  change.slowness.assign(message->begin() + static_cast<std::ptrdiff_t>(kFields + 2 * stages.size()), message->end());
  return change;
}

}  // namespace lshdp::train
