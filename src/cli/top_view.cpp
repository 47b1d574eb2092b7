// Drawing of a run: one head, then a line for each rank.
#include "top_view.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "lshdp/core/median.h"
#include "lshdp/core/text.h"
#include "lshdp/core/wall_time.h"
#include "lshdp/plan/strategy.h"

namespace lshdp::cli {
namespace {

using train::RunRecord;
using train::StepRecord;

constexpr std::size_t kBarWidth = 24;
constexpr std::size_t kFewestRanks = 1;
constexpr double kQuietSeconds = 60;  // without a new step, and ten steps' time: then the view says so

double mean_of(const RunState& state, const std::vector<double> StepRecord::*values, std::size_t rank) {
  double sum = 0;
  for (const StepRecord& step : state.steps) sum += (step.*values)[rank];
  return sum / static_cast<double>(state.steps.size());
}

double mean_step(const RunState& state) {
  double sum = 0;
  for (const StepRecord& step : state.steps) sum += step.step_seconds;
  return sum / static_cast<double>(state.steps.size());
}

std::string bar(double filled, char full, std::size_t width = kBarWidth) {
  const double share = filled > 0 ? std::min(filled, 1.0) : 0;  // also of what is no number
  const auto count = static_cast<std::size_t>(std::lround(share * static_cast<double>(width)));
  return std::string(count, full) + std::string(width - count, ' ');
}

/// "[#######..  ]": computing, then waiting, then the rest of the step.
std::string parts_bar(double compute, double wait) {
  std::string text = bar(compute, '#');
  const std::string waits = bar(wait, '.');
  const auto end = static_cast<std::size_t>(waits.find_last_of('.') + 1);
  for (std::size_t i = 0; i < end; ++i) {
    const std::size_t at = text.find(' ');
    if (at == std::string::npos) break;
    text[at] = '.';
  }
  return '[' + text + ']';
}

std::string percent(double share) { return fmt::format("{:.0f} %", 100 * std::clamp(share, 0.0, 1.0)); }

std::string state_text(const RunState& state) {
  if (state.finished) return *state.finished ? "finished" : "interrupted; it can be resumed";
  if (state.steps.empty()) return "no step yet";
  const auto age = seconds_since(state.steps.back().time);
  const bool quiet = age && *age > std::max(kQuietSeconds, 10 * mean_step(state));
  return quiet ? fmt::format("no step for {}", duration_text(*age)) : "running";
}

std::string head_line(const std::string& name, const RunState& state) {
  if (!state.run) return fmt::format("{}: it has not begun to train", name);
  const RunRecord& run = *state.run;
  return fmt::format("{}: {}, {}, {} ranks, {} samples a step | {} | {}", name, run.model,
                     plan::describe_mode(run.strategy), run.ranks.size(), format_count(run.total), state_text(state),
                     time_of_day_text());
}

std::string progress_line(const RunState& state) {
  const RunRecord& run = *state.run;
  const StepRecord& last = state.steps.back();
  std::string text = fmt::format("step {}", format_count(last.step));
  if (run.last_step > 0) {
    const double share = static_cast<double>(last.step) / static_cast<double>(run.last_step);
    text += fmt::format(" of {} [{}] {}", format_count(run.last_step), bar(share, '#'), percent(share));
    const double left = (static_cast<double>(run.last_step) - static_cast<double>(last.step)) * mean_step(state);
    if (!state.finished && left > 0) text += fmt::format(" | {} left, until {}", duration_text(left), end_text(left));
  }
  return text;
}

std::string loss_line(const RunState& state) {
  const StepRecord& last = state.steps.back();
  std::string text = fmt::format("loss {:.4f} | norm {:.3g} | lr {:.2e} | epoch {}", last.loss, last.gradient_norm,
                                 last.learning_rate, last.epoch);
  if (!state.evaluation) return text;
  text += fmt::format(" | evaluation at step {}: loss {:.4f}", format_count(state.evaluation->step),
                      state.evaluation->loss);
  if (state.evaluation->accuracy) text += fmt::format(", {:.2f} %", 100 * *state.evaluation->accuracy);
  return text;
}

std::string speed_line(const RunState& state) {
  const RunRecord& run = *state.run;
  const double seconds = mean_step(state);
  const double rate = seconds > 0 ? static_cast<double>(state.steps.back().samples) / seconds : 0;
  std::string text = fmt::format("{} a step | {:.4g} samples/s", format_seconds(seconds), rate);
  if (run.tokens_per_sample > 0)
    text +=
        fmt::format(" | {} tokens/s", format_count(std::llround(rate * static_cast<double>(run.tokens_per_sample))));
  if (state.steps.back().model_flops_utilization)
    text += fmt::format(" | MFU {:.1f} %", 100 * *state.steps.back().model_flops_utilization);
  if (run.predicted && run.predicted->step_seconds > 0)
    text += fmt::format(" | planned {}", format_seconds(run.predicted->step_seconds));
  return text;
}

std::string memory_text(const RunState& state, std::size_t rank) {
  const std::vector<std::int64_t>& peaks = state.steps.back().peak_tensor_bytes;
  if (rank >= peaks.size()) return "-";
  const std::int64_t budget = state.run->ranks[rank].memory_bytes;
  return format_size(peaks[rank]) + (budget > 0 ? " of " + format_size(budget) : "");
}

/// What left the rank, and for which share of the step anything was on its way.
std::string link_text(const RunState& state, std::size_t rank) {
  const double seconds = mean_step(state);
  if (seconds <= 0) return "-";
  const std::string busy = percent(mean_of(state, &StepRecord::communication_seconds, rank) / seconds);
  const std::vector<std::int64_t>& sent = state.steps.back().bytes_sent;
  if (rank >= sent.size()) return busy;
  return fmt::format("{}, {}/s", busy,
                     format_size(std::llround(static_cast<double>(sent[rank]) / state.steps.back().step_seconds)));
}

std::vector<std::string> rank_row(const RunState& state, std::size_t rank) {
  const train::RankInfo& info = state.run->ranks[rank];
  std::vector<std::string> row{std::to_string(info.rank), printable(info.host), info.device};
  if (state.steps.empty()) {
    row.push_back(format_count(info.batch));
    row.insert(row.end(), 5, "-");
    return row;
  }
  const double seconds = mean_step(state);
  const double compute = mean_of(state, &StepRecord::compute_seconds, rank);
  const double wait = mean_of(state, &StepRecord::wait_seconds, rank);
  const std::vector<std::int64_t>& batches = state.steps.back().batches;
  row.insert(row.end(), {format_count(rank < batches.size() ? batches[rank] : info.batch), format_seconds(compute),
                         format_seconds(wait), seconds > 0 ? parts_bar(compute / seconds, wait / seconds) : "-",
                         memory_text(state, rank), link_text(state, rank)});
  return row;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
    lines.push_back(text.substr(at, end - at));
  return lines;
}

/// Its first characters, as many as fit.
std::string cut(const std::string& line, std::size_t columns) {
  std::size_t at = 0;
  for (std::size_t shown = 0; at < line.size() && shown < columns; ++shown)
    at += std::max<std::size_t>(1, utf8_character(std::string_view(line).substr(at)));
  return line.substr(0, at);
}

}  // namespace

std::vector<std::string> top_view(const std::string& name, const RunState& state, const ViewSize& size) {
  std::vector<std::string> lines{head_line(printable(name), state)};
  if (state.run && !state.steps.empty())
    for (auto* line : {progress_line, loss_line, speed_line}) lines.push_back(line(state));
  if (state.run) {
    // A line of headings, one that counts what does not fit.
    const std::size_t ranks = state.run->ranks.size(), head = lines.size() + 2;
    const std::size_t room = size.rows > head + kFewestRanks ? size.rows - head : kFewestRanks;
    const std::size_t shown = ranks <= room ? ranks : std::max(kFewestRanks, room - 1);
    Table table({"rank", "host", "device", "batch", "compute", "wait", "of a step: # computes, . waits", "memory",
                 "link busy, sent"});
    for (std::size_t rank = 0; rank < shown; ++rank) table.add(rank_row(state, rank));
    lines.emplace_back();
    const std::vector<std::string> rows = lines_of(table.to_string());
    lines.insert(lines.end(), rows.begin(), rows.end());
    if (shown < ranks) lines.push_back(fmt::format("and {} more ranks, for which there is no room", ranks - shown));
  }
  for (std::string& line : lines) line = cut(line, size.columns);
  return lines;
}

}  // namespace lshdp::cli
