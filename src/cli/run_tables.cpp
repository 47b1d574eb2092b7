// Tables of runs for `lshdp report`.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/median.h"
#include "lshdp/core/text.h"
#include "run_directory.h"
#include "run_figures.h"

namespace lshdp::cli {
namespace {

using train::StepRecord;

std::string figure(double value) { return std::isfinite(value) ? fmt::format("{:.4f}", value) : "-"; }

std::string percent(double share) { return fmt::format("{:+.1f} %", 100 * share); }

/// Of the last evaluation; "-" where there was none, or none with an accuracy.
std::string accuracy_of(const RunDirectory& run) {
  if (run.evaluations.empty() || !run.evaluations.back().accuracy.has_value()) return "-";
  return fmt::format("{:.2f} %", 100 * run.evaluations.back().accuracy.value());
}

std::vector<std::string> run_row(const RunDirectory& run, const RunFigures& figures, const RunFigures& first) {
  const auto& predicted = run.run.predicted;
  const bool evaluated = !run.evaluations.empty();
  return {name_of(run),
          run.run.model,
          format_count(run.run.total),
          format_count(run.steps.back().step),
          format_seconds(figures.mean_step),
          format_seconds(figures.median_step),
          predicted ? format_seconds(predicted->step_seconds) : "-",
          predicted ? percent(predicted->step_seconds / figures.median_step - 1) : "-",
          format_count(std::llround(figures.samples_per_second)),
          fmt::format("{:.2f}", figures.samples_per_second / first.samples_per_second),
          figure(run.steps.back().loss),
          evaluated ? figure(run.evaluations.back().loss) : "-",
          accuracy_of(run)};
}

std::string rank_table(const RunDirectory& run, const RunFigures& figures) {
  Table table({"rank", "host", "device", "speed", "largest", "batch", "compute", "predicted", "communication", "wait"});
  for (std::size_t rank = 0; rank < run.run.ranks.size(); ++rank) {
    const train::RankInfo& info = run.run.ranks[rank];
    table.add({std::to_string(info.rank), info.host, info.device, fmt::format("{:.3g}", info.speed),
               info.max_batch > 0 ? format_count(info.max_batch) : "-", format_count(info.batch),
               format_seconds(figures.compute[rank]),
               run.run.predicted ? format_seconds(run.run.predicted->compute_seconds[rank]) : "-",
               format_seconds(figures.communication[rank]), format_seconds(figures.wait[rank])});
  }
  return table.to_string();
}

/// The numbers it computed in, and how many steps they cost.
std::string numbers_of(const RunDirectory& run) {
  const auto skipped = std::ranges::count_if(run.steps, &StepRecord::skipped);
  const std::string numbers = plan::describe_numbers(run.run.strategy);
  return skipped == 0 ? numbers : fmt::format("{} ({} of {} steps skipped)", numbers, skipped, run.steps.size());
}

/// Median time of the steps [first, end); 0 if there are none.
double median_step(const RunDirectory& run, std::int64_t first, std::int64_t end) {
  std::vector<double> times;
  for (const StepRecord& step : run.steps) {
    if (step.step >= first && step.step < end) times.push_back(step.step_seconds);
  }
  return median(times);
}

std::string list_text(const std::vector<std::int64_t>& numbers) {
  constexpr std::size_t kMost = 16;
  if (numbers.size() <= kMost) return fmt::format("{}", fmt::join(numbers, ","));
  return fmt::format("{},..", fmt::join(numbers.begin(), numbers.begin() + kMost, ","));
}

/// What each rebalance expected, and what the steps up to the next one took.
std::string rebalance_table(const RunDirectory& run) {
  if (run.rebalances.empty()) return "";
  const bool stages = !run.rebalances.front().cuts.empty();
  Table table({"rebalanced at step", stages ? "stages ended before" : "batches before",
               stages ? "end before" : "batches", "step before", "expected", "then"});
  for (std::size_t i = 0; i < run.rebalances.size(); ++i) {
    const train::RebalanceRecord& change = run.rebalances[i];
    const bool last = i + 1 == run.rebalances.size();
    const double then = median_step(run, change.step, last ? run.steps.back().step + 1 : run.rebalances[i + 1].step);
    table.add({format_count(change.step), list_text(stages ? change.cuts_before : change.batches_before),
               list_text(stages ? change.cuts : change.batches), format_seconds(change.step_seconds),
               format_seconds(change.expected_step_seconds), then > 0 ? format_seconds(then) : "-"});
  }
  return table.to_string();
}

}  // namespace

std::string describe(const std::vector<RunDirectory>& runs) {
  Table table({"run", "model", "total", "steps", "mean step", "median", "predicted", "error", "samples/s", "x first",
               "loss", "eval loss", "accuracy"});
  std::string ranks;
  const RunFigures first = figures_of(runs.front());
  for (const RunDirectory& run : runs) {
    const RunFigures figures = figures_of(run);
    table.add(run_row(run, figures, first));
    ranks += fmt::format("\n{}: {}, {}, {}; mean seconds a step, which overlap\n{}", name_of(run), run.run.model,
                         plan::describe_mode(run.run.strategy), numbers_of(run), rank_table(run, figures));
    ranks += rebalance_table(run);
  }
  return table.to_string() + ranks;
}

}  // namespace lshdp::cli
