// Reads metrics.jsonl of a run while the run writes it.
#pragma once
#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>

#include <sys/types.h>

#include "lshdp/train/metrics.h"

namespace lshdp::cli {

/// What a run has told so far, as far as a view of now asks for it.
struct RunState {
  std::optional<train::RunRecord> run;                // the newest launch; none: it has not begun to train
  std::deque<train::StepRecord> steps;                // the newest of that launch, at most kRecentSteps
  std::optional<train::EvaluationRecord> evaluation;  // the newest
  std::optional<bool> finished;                       // what summary.json of that launch says; none: no summary yet
};

inline constexpr std::size_t kRecentSteps = 10;

/// Takes what is new at each look: a file of a long run is read once.
class RunFollower {
 public:
  /// Throws UsageError: `folder` holds no run and none that is about to begin.
  explicit RunFollower(std::filesystem::path folder);
  /// Reads on. A last line without its end is left for later; a file that a resumed run has replaced is read anew.
  /// Throws UsageError naming file and line of what is damaged.
  const RunState& look();

 private:
  void read_on(int descriptor);
  void take(const std::string& line);
  void take_steps();
  void read_summary();

  std::filesystem::path folder_;
  RunState state_;
  ino_t file_ = 0;                         // that the rest is about
  std::int64_t offset_ = 0, lines_ = 0;    // read
  std::string rest_;                       // a line without its end
  std::deque<std::string> waiting_steps_;  // lines, not looked into: most are never shown
};

}  // namespace lshdp::cli
