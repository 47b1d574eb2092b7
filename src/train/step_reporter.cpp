// From gathered figures to records.
#include "step_reporter.h"

#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace lshdp::train {

void StepReporter::begin(const std::filesystem::path& folder, const RunRecord& run, bool tensorboard) {
  run_ = run;
  metrics_.emplace(folder, run);
  log_.emplace(steps_.first, steps_.last, run);
  if (tensorboard) board_.emplace(folder, run);
}

/// As all ranks' stores decided: see parallel::StepReport.
bool StepReporter::was_skipped(const GatheredStep& step) const {
  return steps_.scales_loss && !std::isfinite(step.record.gradient_norm);
}

std::string StepReporter::failure_of(const GatheredStep& step) const {
  const bool skipped = was_skipped(step);
  if (skipped && step.loss_scale > 1) return "";  // a smaller scale may help
  for (std::size_t rank = 0; rank < step.losses.size(); ++rank) {
    if (!std::isfinite(step.losses[rank]))
      return fmt::format("the loss is not finite at step {} on rank {}; try a smaller --lr, or --clip", step.step,
                         rank);
  }
  if (!skipped) return "";
  return fmt::format(
      "gradients overflow in fp16 at step {} with a loss scale of 1; try --precision fp32, or a smaller --lr",
      step.step);
}

void StepReporter::add(const GatheredStep& gathered) {
  if (!metrics_) return;
  const std::int64_t step = gathered.step - 1, samples = sampler_.global_count(step);
  StepRecord record = gathered.record;
  record.epoch = sampler_.epoch_of(step);
  record.samples = samples;
  record.batches = rebalancing_.batches_at(gathered.step);
  record.loss =
      std::accumulate(gathered.losses.begin(), gathered.losses.end(), 0.0) / static_cast<double>(steps_.terms(step));
  record.tokens = samples * run_.tokens_per_sample;
  record.model_flops_utilization = model_flops_utilization(run_, record);
  record.learning_rate = learning_rate_at(steps_.schedule, step);
  record.skipped = was_skipped(gathered);
  if (steps_.scales_loss) record.loss_scale = gathered.loss_scale;
  metrics_->add(record);
  if (board_) board_->add(record);
  log_->step(record);
}

void StepReporter::add(const RebalanceRecord& change) {
  if (!metrics_) return;
  metrics_->add(change);
  log_->message(train::describe(change));
}

void StepReporter::add(const EvaluationRecord& evaluation) {
  if (!metrics_) return;
  metrics_->add(evaluation);
  if (board_) board_->add(evaluation);
  log_->evaluation(evaluation);
}

void StepReporter::message(const std::string& text) {
  if (log_) log_->message(text);
}

void StepReporter::finish() {
  if (log_) log_->finish();
}

}  // namespace lshdp::train
