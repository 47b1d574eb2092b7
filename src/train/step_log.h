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
  /// Steps [first, last) of `run` are to come.
  StepLog(std::int64_t first, std::int64_t last, const RunRecord& run);
  void step(const StepRecord& record);
  void evaluation(const EvaluationRecord& record);
  void message(const std::string& text);
  void finish() { progress_.clear(); }

 private:
  double seconds_left(std::int64_t step) const;
  bool is_minute_over();

  std::int64_t first_, last_, tokens_per_sample_;
  std::vector<std::int64_t> memory_bytes_;  // by rank
  double begun_, time_said_ = 0;
  Progress progress_;
};

/// What a line says beside the record.
struct LineContext {
  std::int64_t last = 0;                        // step of the run
  std::int64_t tokens_per_sample = 0;           // 0: rates are of samples
  double seconds_left = 0;                      // 0: not known
  std::string end = {};                         // when the run ends then; empty: not said
  std::string time_of_day = {};                 // empty: not said
  std::vector<std::int64_t> memory_bytes = {};  // budgets by rank, to say how full the fullest is; empty: not said
};

/// "step   12/800 | loss 1.2345 | norm 0.98 | lr 1.2e-03 | 231 ms | 554 samples/s | MFU 41.2 % | slowest rank 2
/// computes 98 % | fullest rank 0 had 1.20 GiB of 2.00 GiB | 3 min left, until 14:06 | 14:03:10". The slowest rank is
/// the one that computes longest, with the share of its own step; the fullest is the one whose tensors came nearest to
/// its budget, with the most that they took since the launch. MFU is of all devices together
/// (model_flops_utilization()).
std::string step_line(const StepRecord& record, const LineContext& context);

/// "step 12 skipped: gradients overflow in fp16; loss scale now 32768"
std::string skipped_line(const StepRecord& record);

}  // namespace lshdp::train
