// What a run shows of itself: its last steps, in windows that must agree, and whether changes kept what they promised.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lshdp::plan {

/// What one step showed. Vectors by rank, seconds as in metrics.jsonl.
struct StepObservation {
  std::int64_t step = 0;  // counted from 1
  double step_seconds = 0;
  std::vector<double> compute_seconds;
  std::vector<double> wait_seconds;
};

using Steps = std::span<const StepObservation>;

double median_step_seconds(Steps steps);
double median_compute_seconds(Steps steps, std::size_t rank);
double median_wait_seconds(Steps steps, std::size_t rank);

/// Rounded to 1.0025 to some power, so that ranks alike stay alike.
double rounded_slowness(double slowness);

/// The last steps, oldest first.
class StepWindows {
 public:
  static constexpr std::size_t kWindows = 2;  // that must agree

  /// A window is as many steps as last `window_seconds`, but at least 3 and at most 10: a machine's hiccups last as
  /// long as they last.
  explicit StepWindows(double window_seconds) : window_seconds_(window_seconds) {}

  void add(const StepObservation& step);
  void clear() { steps_.clear(); }
  /// The steps of the last kWindows windows, of equal length; none before there are enough.
  Steps last() const;

 private:
  double window_seconds_;
  std::vector<StepObservation> steps_;
};

/// The share of a step that a change must save.
class RequiredGain {
 public:
  explicit RequiredGain(double least) : least_(least), now_(least) {}

  double now() const { return now_; }
  /// A change is made, from steps of `step_seconds`.
  void promise(double step_seconds, double expected_step_seconds);
  /// Before each decision, with what steps take now: a change that brought less than half of what it promised was
  /// chosen by noise, or by a model that is wrong here. Twice as much is asked then, and less again with time.
  void judge(double step_seconds);

 private:
  double least_, now_;
  double before_ = 0, expected_ = 0;  // of the change that is still to be judged; 0: there is none
};

}  // namespace lshdp::plan
