// How a decision of rank 0 reaches the others, and what it says to people.
#include "rebalancing.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/text.h"

namespace lshdp::train {
namespace {

// A message: these figures, then each rank's batch, then each rank's slowness. Whole numbers below 2^53 are exact.
enum Field : std::size_t { kChanged, kStepSeconds, kExpectedSeconds, kFields };

constexpr double kDrift = 0.03;  // a smaller change of slowness is not spoken of
constexpr std::size_t kMaxRanks = 8, kMaxBatches = 16;

std::string list_text(const std::vector<std::int64_t>& numbers) {
  if (numbers.size() <= kMaxBatches) return fmt::format("{}", fmt::join(numbers, ","));
  const auto end = numbers.begin() + static_cast<std::ptrdiff_t>(kMaxBatches);
  return fmt::format("{},..", fmt::join(numbers.begin(), end, ","));
}

std::string change_text(const RebalanceRecord& record) {
  if (record.cuts.empty())
    return fmt::format("batches {} -> {}", list_text(record.batches_before), list_text(record.batches));
  return fmt::format("stages end before blocks {} -> {}, {} moved in {}", list_text(record.cuts_before),
                     list_text(record.cuts), format_size(record.moved_bytes), format_seconds(record.move_seconds));
}

/// "rank 0 computes 2.01 times as long as profiled (before 1.00), ..", those that drifted most first.
std::string drift_text(const RebalanceRecord& record) {
  std::vector<std::pair<double, std::size_t>> drifts;
  for (std::size_t r = 0; r < record.slowness.size(); ++r) {
    const double drift = std::abs(std::log(record.slowness[r] / record.slowness_before[r]));
    if (drift >= kDrift) drifts.emplace_back(-drift, r);
  }
  std::sort(drifts.begin(), drifts.end());
  std::string text;
  for (std::size_t i = 0; i < std::min(drifts.size(), kMaxRanks); ++i) {
    const std::size_t r = drifts[i].second;
    text += fmt::format("{}rank {} computes {:.2f} times as long as {} (before {:.2f})", i == 0 ? "" : ", ", r,
                        record.slowness[r], record.profiled ? "profiled" : "at first", record.slowness_before[r]);
  }
  return text.empty() ? text : text + "; ";
}

}  // namespace

Rebalancing::Rebalancing(comm::Communicator& communicator, plan::Plan plan, std::optional<plan::Profile> profile,
                         std::int64_t every, const plan::RebalanceOptions& options)
    : communicator_(communicator),
      every_(every),
      profiled_(profile.has_value()),
      rebalancer_(std::move(plan), std::move(profile), options),
      batches_(plan::batches_of(rebalancer_.plan())),
      slowness_(batches_.size(), 1.0),
      message_(communicator) {}

const std::vector<std::int64_t>& Rebalancing::batches_at(std::int64_t step) const {
  return step < changed_at_ ? batches_before_ : batches_;
}

void Rebalancing::observe(const StepRecord& step) {
  if (every_ > 0) rebalancer_.observe({step.step, step.step_seconds, step.compute_seconds, step.wait_seconds});
}

std::optional<RebalanceRecord> Rebalancing::end_step(std::int64_t step) {
  if (every_ == 0) return std::nullopt;
  std::optional<RebalanceRecord> record;
  if (const auto change = receive()) {
    record = RebalanceRecord{.step = step + 1,
                             .batches_before = batches_,
                             .batches = change->batches,
                             .slowness_before = std::exchange(slowness_, change->slowness),
                             .slowness = change->slowness,
                             .step_seconds = change->step_seconds,
                             .expected_step_seconds = change->expected_step_seconds,
                             .profiled = profiled_};
    rebalancer_.apply(*change, step + 1);
    batches_before_ = std::exchange(batches_, change->batches);
    changed_at_ = step + 1;
  }
  if (step % every_ == 0) send();
  return record;
}

void Rebalancing::send() {
  const std::size_t ranks = batches_.size();
  std::vector<double> message(kFields + 2 * ranks, 0);
  if (communicator_.rank() == 0) {
    if (const auto change = rebalancer_.decide()) {
      message[kChanged] = 1;
      message[kStepSeconds] = change->step_seconds;
      message[kExpectedSeconds] = change->expected_step_seconds;
      for (std::size_t r = 0; r < ranks; ++r) {
        message[kFields + r] = static_cast<double>(change->batches[r]);
        message[kFields + ranks + r] = change->slowness[r];
      }
    }
  }
  message_.send(std::move(message));
}

std::optional<plan::Rebalance> Rebalancing::receive() {
  const std::optional<std::vector<double>> received = message_.receive();
  if (!received || (*received)[kChanged] == 0) return std::nullopt;
  const std::vector<double>& message = *received;
  plan::Rebalance change;
  change.step_seconds = message[kStepSeconds];
  change.expected_step_seconds = message[kExpectedSeconds];
  const std::size_t ranks = batches_.size();
  for (std::size_t r = 0; r < ranks; ++r) {
    change.batches.push_back(static_cast<std::int64_t>(message[kFields + r]));
    change.slowness.push_back(message[kFields + ranks + r]);
  }
  return change;
}

std::string describe(const RebalanceRecord& record) {
  const std::string change =
      fmt::format("rebalanced from step {} on: {}{}", record.step, drift_text(record), change_text(record));
  if (record.step_seconds == 0) return change;  // nothing was expected of it
  return fmt::format("{}; step {} -> {} expected ({:.0f} % less)", change, format_seconds(record.step_seconds),
                     format_seconds(record.expected_step_seconds),
                     100 * (1 - record.expected_step_seconds / record.step_seconds));
}

}  // namespace lshdp::train
