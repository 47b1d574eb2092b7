// Means and medians over the steps that timing is judged by.
#include "run_figures.h"

#include <filesystem>

#include "lshdp/core/median.h"

namespace lshdp::cli {
namespace {

using train::StepRecord;

void add_to(std::vector<double>& sums, const std::vector<double>& values, double weight) {
  sums.resize(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) sums[i] += values[i] * weight;
}

}  // namespace

RunFigures figures_of(const RunDirectory& run) {
  const auto begin = run.steps.begin() + static_cast<std::ptrdiff_t>(run.first_of_launch);
  const std::vector<StepRecord> steps = train::without_warm_up({begin, run.steps.end()});
  const double share = 1 / static_cast<double>(steps.size());
  RunFigures figures;
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

}  // namespace lshdp::cli
