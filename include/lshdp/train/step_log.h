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
  /// Steps [first, last) are to come.
  StepLog(std::int64_t first, std::int64_t last);
  void step(const StepRecord& record);
  void evaluation(const EvaluationRecord& record);
  void message(const std::string& text);
  void finish() { progress_.clear(); }

 private:
  std::int64_t first_, last_;
  Progress progress_;
};

/// "step   12/800 | loss 1.2345 | norm 0.98 | lr 1.2e-03 | 231 ms | 554 samples/s | compute 98 % wait 2 %" (shares of
/// the step: compute of the busiest rank, wait of the rank that waits most).
std::string step_line(const StepRecord& record, std::int64_t last);

/// "step 12 skipped: gradients overflow in fp16; loss scale now 32768"
std::string skipped_line(const StepRecord& record);

}  // namespace lshdp::train
