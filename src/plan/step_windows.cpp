// Medians of steps, and a memory of promises.
#include "lshdp/plan/step_windows.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "lshdp/core/median.h"

namespace lshdp::plan {
namespace {

constexpr std::size_t kMinWindow = 3, kMaxWindow = 10;  // steps whose median counts
constexpr double kHardestGain = 0.4;                    // never is more asked of a change
constexpr double kForgiven = 0.9;       // what is asked above the least shrinks by this with each decision
constexpr double kResolution = 1.0025;  // of slowness

/// Median over steps of a figure that `figure(step)` picks.
template <typename Figure>
double median_of(Steps steps, Figure figure) {
  std::vector<double> values;
  for (const StepObservation& step : steps) values.push_back(figure(step));
  return median(std::move(values));
}

}  // namespace

double median_step_seconds(Steps steps) {
  return median_of(steps, [](const StepObservation& step) { return step.step_seconds; });
}

double median_compute_seconds(Steps steps, std::size_t rank) {
  return median_of(steps, [rank](const StepObservation& step) { return step.compute_seconds[rank]; });
}

double median_wait_seconds(Steps steps, std::size_t rank) {
  return median_of(steps, [rank](const StepObservation& step) { return step.wait_seconds[rank]; });
}

double rounded_slowness(double slowness) {
  return std::exp(std::round(std::log(slowness) / std::log(kResolution)) * std::log(kResolution));
}

void StepWindows::add(const StepObservation& step) {
  if (steps_.size() == kMaxWindow * kWindows) steps_.erase(steps_.begin());
  steps_.push_back(step);
}

Steps StepWindows::last() const {
  const Steps steps(steps_);
  if (steps.size() < kMinWindow * kWindows) return {};
  const double fitting = std::ceil(window_seconds_ / std::max(median_step_seconds(steps.last(kMinWindow)), 1e-9));
  const auto window = static_cast<std::size_t>(std::clamp(fitting, double{kMinWindow}, double{kMaxWindow}));
  return steps.size() < window * kWindows ? Steps() : steps.last(window * kWindows);
}

void RequiredGain::promise(double step_seconds, double expected_step_seconds) {
  before_ = step_seconds;
  expected_ = expected_step_seconds;
}

void RequiredGain::judge(double step_seconds) {
  now_ = std::max(least_, now_ * kForgiven);
  if (before_ == 0) return;
  if (before_ - step_seconds < (before_ - expected_) / 2) now_ = std::min(2 * now_, std::max(kHardestGain, least_));
  before_ = 0;
}

}  // namespace lshdp::plan
