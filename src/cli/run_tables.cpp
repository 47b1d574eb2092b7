// Tables of runs for `lshdp report`.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/core/median.h"
#include "lshdp/core/text.h"
#include "run_directory.h"

namespace lshdp::cli {
namespace {

using train::StepRecord;

/// Figures of a run, from the steps of its last launch after warm-up.
struct Figures {
  double mean_step = 0, median_step = 0, samples_per_second = 0;
  std::vector<double> compute, communication, wait;  // means, by rank
};

void add_to(std::vector<double>& sums, const std::vector<double>& values, double weight) {
  sums.resize(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) sums[i] += values[i] * weight;
}

Figures figures_of(const RunDirectory& run) {
  const auto begin = run.steps.begin() + static_cast<std::ptrdiff_t>(run.first_of_launch);
  const std::vector<StepRecord> steps = train::without_warm_up({begin, run.steps.end()});
  const double share = 1 / static_cast<double>(steps.size());
  Figures figures;
  std::vector<double> times;
  double samples = 0;
  for (const StepRecord& step : steps) {
    times.push_back(step.step_seconds);
    figures.mean_step += step.step_seconds * share;
    samples += static_cast<double>(step.samples) * share;
    add_to(figures.compute, step.compute_seconds, share);
    add_to(figures.communication, step.communication_seconds, share);
    add_to(figures.wait, step.wait_seconds, share);
  }
  figures.median_step = median(times);
  figures.samples_per_second = figures.mean_step > 0 ? samples / figures.mean_step : 0;
  return figures;
}

std::string name_of(const RunDirectory& run) {
  const auto normal = std::filesystem::absolute(run.path).lexically_normal();
  return (normal.has_filename() ? normal : normal.parent_path()).filename().string();
}

std::string figure(double value) { return std::isfinite(value) ? fmt::format("{:.4f}", value) : "-"; }

std::string percent(double share) { return fmt::format("{:+.1f} %", 100 * share); }

/// Of the last evaluation; "-" where there was none, or none with an accuracy.
std::string accuracy_of(const RunDirectory& run) {
  if (run.evaluations.empty() || !run.evaluations.back().accuracy.has_value()) return "-";
  return fmt::format("{:.2f} %", 100 * run.evaluations.back().accuracy.value());
}

std::vector<std::string> run_row(const RunDirectory& run, const Figures& figures, const Figures& first) {
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

std::string rank_table(const RunDirectory& run, const Figures& figures) {
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

std::string batches_text(const std::vector<std::int64_t>& batches) {
  constexpr std::size_t kMost = 16;
  if (batches.size() <= kMost) return fmt::format("{}", fmt::join(batches, ","));
  return fmt::format("{},..", fmt::join(batches.begin(), batches.begin() + kMost, ","));
}

/// What each rebalance expected, and what the steps up to the next one took.
std::string rebalance_table(const RunDirectory& run) {
  if (run.rebalances.empty()) return "";
  Table table({"rebalanced at step", "batches before", "batches", "step before", "expected", "then"});
  for (std::size_t i = 0; i < run.rebalances.size(); ++i) {
    const train::RebalanceRecord& change = run.rebalances[i];
    const bool last = i + 1 == run.rebalances.size();
    const double then = median_step(run, change.step, last ? run.steps.back().step + 1 : run.rebalances[i + 1].step);
    table.add({format_count(change.step), batches_text(change.batches_before), batches_text(change.batches),
               format_seconds(change.step_seconds), format_seconds(change.expected_step_seconds),
               then > 0 ? format_seconds(then) : "-"});
  }
  return table.to_string();
}

}  // namespace

std::string describe(const std::vector<RunDirectory>& runs) {
  Table table({"run", "model", "total", "steps", "mean step", "median", "predicted", "error", "samples/s", "x first",
               "loss", "eval loss", "accuracy"});
  std::string ranks;
  const Figures first = figures_of(runs.front());
  for (const RunDirectory& run : runs) {
    const Figures figures = figures_of(run);
    table.add(run_row(run, figures, first));
    ranks += fmt::format("\n{}: {}, {}, {}; mean seconds a step, which overlap\n{}", name_of(run), run.run.model,
                         plan::describe_mode(run.run.strategy), numbers_of(run), rank_table(run, figures));
    ranks += rebalance_table(run);
  }
  return table.to_string() + ranks;
}

}  // namespace lshdp::cli
