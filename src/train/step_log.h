// What a person sees of a run: one line a step, and a bar on a terminal.
#pragma once
#include <cstdint>
#include <string>

#include "lshdp/core/progress.h"
#include "lshdp/train/metrics.h"

namespace lshdp::train {

/// Rank 0 has one.
class StepLog {
 public:
  /// Steps [first, last) are to come; `tokens_per_sample` > 0: rates are of tokens.
  StepLog(std::int64_t first, std::int64_t last, std::int64_t tokens_per_sample);
  void step(const StepRecord& record);
  void evaluation(const EvaluationRecord& record);
  void message(const std::string& text);
  void finish() { progress_.clear(); }

 private:
  double seconds_left(std::int64_t step) const;
  std::string time_of_day();

  std::int64_t first_, last_, tokens_per_sample_;
  double begun_, time_said_ = 0;
  Progress progress_;
};

/// What a line says beside the record.
struct LineContext {
  std::int64_t last = 0;               // step of the run
  std::int64_t tokens_per_sample = 0;  // 0: rates are of samples
  double seconds_left = 0;             // 0: not known
  std::string time_of_day = {};        // empty: not said
};

/// "step   12/800 | loss 1.2345 | norm 0.98 | lr 1.2e-03 | 231 ms | 554 samples/s | slowest rank 2 computes 98 % | 3
/// min left | 14:03:10". The slowest rank is the one that computes longest, with the share of its own step.
std::string step_line(const StepRecord& record, const LineContext& context);

/// "step 12 skipped: gradients overflow in fp16; loss scale now 32768"
std::string skipped_line(const StepRecord& record);

}  // namespace lshdp::train
