// Log lines of a run.
#include "step_log.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/core/wall_time.h"

namespace lshdp::train {
namespace {

constexpr double kSecondsBetweenTimes = 60;

/// Three significant digits, or all of a large number.
std::string rate_text(double rate) {
  return rate < 1000 ? fmt::format("{:.3g}", rate) : format_count(std::llround(rate));
}

/// " | fullest rank 2 had 1.20 GiB of 2.00 GiB"; empty where that is not known.
std::string memory_text(const StepRecord& record, const std::vector<std::int64_t>& budgets) {
  const std::vector<std::int64_t>& peaks = record.peak_tensor_bytes;
  if (peaks.empty() || budgets.size() != peaks.size() || std::ranges::min(budgets) <= 0) return "";
  std::size_t fullest = 0;
  const auto fullness = [&](std::size_t r) { return static_cast<double>(peaks[r]) / static_cast<double>(budgets[r]); };
  for (std::size_t r = 1; r < peaks.size(); ++r) {
    if (fullness(r) > fullness(fullest)) fullest = r;
  }
  const std::string who = peaks.size() > 1 ? fmt::format("fullest rank {} had", fullest) : "memory";
  return fmt::format(" | {} {} of {}", who, format_size(peaks[fullest]), format_size(budgets[fullest]));
}

/// " | slowest rank 2 computes 98 %"; empty for one rank.
std::string slowest_text(const StepRecord& record) {
  const std::vector<double>& compute = record.compute_seconds;
  if (compute.size() < 2) return "";
  const auto slowest = static_cast<std::size_t>(std::ranges::max_element(compute) - compute.begin());
  const double seconds =
      record.rank_seconds.size() == compute.size() ? record.rank_seconds[slowest] : record.step_seconds;
  // Updates run beside waiting, so that the sum of a rank's parts may be a little more than its step.
  const double share = seconds > 0 ? std::min(100.0, 100 * compute[slowest] / seconds) : 0;
  return fmt::format(" | slowest rank {} computes {:.0f} %", slowest, share);
}

}  // namespace

StepLog::StepLog(std::int64_t first, std::int64_t last, const RunRecord& run)
    : first_(first),
      last_(last),
      tokens_per_sample_(run.tokens_per_sample),
      begun_(now_seconds()),
      progress_("training", last - first, spdlog::should_log(spdlog::level::info)) {
  for (const RankInfo& rank : run.ranks) memory_bytes_.push_back(rank.memory_bytes);
}

double StepLog::seconds_left(std::int64_t step) const {
  const std::int64_t done = step - first_;
  if (done < 2) return 0;  // the first step is slower than those that follow
  return (now_seconds() - begun_) / static_cast<double>(done) * static_cast<double>(last_ - step);
}

/// True at first, and once a minute: for what changes slowly.
bool StepLog::is_minute_over() {
  if (time_said_ > 0 && now_seconds() - time_said_ < kSecondsBetweenTimes) return false;
  time_said_ = now_seconds();
  return true;
}

void StepLog::step(const StepRecord& record) {
  if (progress_.on_terminal()) progress_.clear();
  LineContext context{
      .last = last_, .tokens_per_sample = tokens_per_sample_, .seconds_left = seconds_left(record.step)};
  if (context.seconds_left > 0) context.end = end_text(context.seconds_left);
  if (is_minute_over()) {
    context.time_of_day = time_of_day_text();
    context.memory_bytes = memory_bytes_;
  }
  spdlog::info("{}", step_line(record, context));
  if (record.skipped) spdlog::info("{}", skipped_line(record));
  if (progress_.on_terminal()) progress_.update(record.step - first_, fmt::format("loss {:.4f}", record.loss));
}

void StepLog::evaluation(const EvaluationRecord& record) {
  std::string line = fmt::format("step {}: evaluation loss {:.4f}", record.step, record.loss);
  if (record.average_loss) line += fmt::format(" (of the average {:.4f})", *record.average_loss);
  if (record.accuracy && std::isfinite(record.loss)) line += fmt::format(", accuracy {:.2f} %", 100 * *record.accuracy);
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

std::string step_line(const StepRecord& record, const LineContext& context) {
  const double rate = record.step_seconds > 0 ? static_cast<double>(record.samples) / record.step_seconds : 0;
  const bool text = context.tokens_per_sample > 0;
  const int width = static_cast<int>(std::to_string(context.last).size());
  const std::string utilization =
      record.model_flops_utilization ? fmt::format(" | MFU {:.1f} %", 100 * *record.model_flops_utilization) : "";
  std::string line = fmt::format("step {:>{}}/{} | loss {:.4f} | norm {:.3g} | lr {:.2e} | {} | {} {}/s{}", record.step,
                                 width, context.last, record.loss, record.gradient_norm, record.learning_rate,
                                 format_seconds(record.step_seconds),
                                 rate_text(text ? rate * static_cast<double>(context.tokens_per_sample) : rate),
                                 text ? "tokens" : "samples", utilization + slowest_text(record));
  line += memory_text(record, context.memory_bytes);
  if (context.seconds_left > 0) line += fmt::format(" | {} left", duration_text(context.seconds_left));
  if (!context.end.empty()) line += ", until " + context.end;
  if (!context.time_of_day.empty()) line += " | " + context.time_of_day;
  return line;
}

}  // namespace lshdp::train
