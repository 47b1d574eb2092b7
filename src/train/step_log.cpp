// Log lines of a run.
#include "lshdp/train/step_log.h"

#include <algorithm>

#include <fmt/format.h>

#include "lshdp/core/log.h"
#include "lshdp/core/text.h"

namespace lshdp::train {
namespace {

double largest_share(const std::vector<double>& seconds, double of) {
  return seconds.empty() || of <= 0 ? 0 : 100 * *std::max_element(seconds.begin(), seconds.end()) / of;
}

}  // namespace

StepLog::StepLog(std::int64_t first, std::int64_t last)
    : first_(first), last_(last), progress_("training", last - first, spdlog::should_log(spdlog::level::info)) {}

void StepLog::step(const StepRecord& record) {
  if (progress_.on_terminal()) progress_.clear();
  spdlog::info("{}", step_line(record, last_));
  if (record.skipped) spdlog::info("{}", skipped_line(record));
  if (progress_.on_terminal()) progress_.update(record.step - first_, fmt::format("loss {:.4f}", record.loss));
}

void StepLog::evaluation(const EvaluationRecord& record) {
  std::string line = fmt::format("step {}: evaluation loss {:.4f}", record.step, record.loss);
  if (record.accuracy) line += fmt::format(", accuracy {:.2f} %", 100 * *record.accuracy);
  message(line + fmt::format(" over {} samples", format_count(record.samples)));
}

void StepLog::message(const std::string& text) {
  progress_.clear();
  spdlog::info("{}", text);
}

std::string skipped_line(const StepRecord& record) {
  return fmt::format("step {} skipped: gradients overflow in fp16; loss scale now {:.0f}", record.step,
                     record.loss_scale.value_or(2) / 2);
}

std::string step_line(const StepRecord& record, std::int64_t last) {
  const double rate = record.step_seconds > 0 ? static_cast<double>(record.samples) / record.step_seconds : 0;
  const int width = static_cast<int>(std::to_string(last).size());
  return fmt::format(
      "step {:>{}}/{} | loss {:.4f} | norm {:.3g} | lr {:.2e} | {} | {:.0f} samples/s | compute {:.0f} % wait {:.0f} %",
      record.step, width, last, record.loss, record.gradient_norm, record.learning_rate,
      format_seconds(record.step_seconds), rate, largest_share(record.compute_seconds, record.step_seconds),
      largest_share(record.wait_seconds, record.step_seconds));
}

}  // namespace lshdp::train
