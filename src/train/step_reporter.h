// StepReporter: what becomes of a step's figures: errors, metrics.jsonl, the log.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "lshdp/core/json.h"
#include "lshdp/data/sampler.h"
#include "lshdp/train/metrics.h"
#include "lshdp/train/schedule.h"
#include "rebalancing.h"
#include "step_log.h"
#include "step_statistics.h"
#include "tensorboard.h"

namespace lshdp::train {

struct ReportedSteps {
  std::int64_t first = 0, last = 0;  // [first, last), counted from 0
  bool scales_loss = false;          // fp16
  Schedule schedule;
  std::function<std::int64_t(std::int64_t step)> terms;  // of the loss, over all ranks
};

/// One per rank. Rank 0's writes; on the others only require_finite() does anything.
class StepReporter {
 public:
  /// `sampler` and `rebalancing` must outlive it.
  StepReporter(const ReportedSteps& steps, const data::HeterogeneousDistributedSampler& sampler,
               const Rebalancing& rebalancing)
      : steps_(steps), sampler_(sampler), rebalancing_(rebalancing) {}

  /// Rank 0: from here on there is metrics.jsonl in `folder` (empty: none) and a log; with `tensorboard` event files
  /// too. Throws an Error if a file cannot be written.
  void begin(const std::filesystem::path& folder, const RunRecord& run, bool tensorboard = false);

  /// What ends the run, the same on all ranks: a loss that is not finite, or gradients that overflow in fp16 whatever
  /// the scale. Empty: nothing.
  std::string failure_of(const GatheredStep& step) const;
  void add(const GatheredStep& step);
  void add(const RebalanceRecord& change);
  void add(const EvaluationRecord& evaluation);
  void message(const std::string& text);
  /// The log's progress is over.
  void finish();
  /// Rank 0: MetricsWriter::summary().
  Json summary(double seconds, bool finished) const { return metrics_->summary(seconds, finished); }

 private:
  bool was_skipped(const GatheredStep& step) const;

  ReportedSteps steps_;
  const data::HeterogeneousDistributedSampler& sampler_;
  const Rebalancing& rebalancing_;
  RunRecord run_;                         // rank 0
  std::optional<MetricsWriter> metrics_;  // rank 0
  std::optional<StepLog> log_;            // rank 0
  std::optional<TensorBoard> board_;      // rank 0, where it is wanted
};

}  // namespace lshdp::train
