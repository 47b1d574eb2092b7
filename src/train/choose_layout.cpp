// Reading, checking and planning layouts.
#include "choose_layout.h"

#include <algorithm>

#include <fmt/format.h>

#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/parallel/placement.h"

namespace lshdp::train {
namespace {

constexpr const char* kData = "data";
constexpr const char* kAutomatic = "auto";

void require_file_fits(const plan::Layout& layout, const model::Model& model, const measure::RankSetup& setup,
                       const PlanRequest& request, int ranks) {
  const std::string source = "--layout: " + request.layout;
  plan::require_fits(layout, parallel::layout_needs(model), ranks, source);
  if (layout.strategy) {
    const std::vector<std::string> differences = plan::differences(*layout.strategy, setup.strategy);
    if (!differences.empty()) throw UsageError(fmt::format("{} is for {}", source, differences.front()));
  }
  if (request.total && *request.total != plan::total_of(layout))
    throw UsageError(
        fmt::format("{} has {} samples a step, but --total is {}", source, plan::total_of(layout), *request.total));
}

std::string describe(const plan::LayoutAlternative& alternative) {
  if (alternative.step_seconds > 0)
    return fmt::format("layout: {}, predicted step {}", alternative.name, format_seconds(alternative.step_seconds));
  return fmt::format("layout: {}: none, {}", alternative.name, alternative.why_not);
}

}  // namespace

plan::LayoutOptions layout_options(const model::Model& model, const PlanRequest& request) {
  plan::LayoutOptions options{.total = *request.total,
                              .kind = plan::layout_kind_from_text(request.layout),
                              .stages = plan::stage_cut_from_text(request.stages),
                              .needs = parallel::layout_needs(model),
                              .memory_share = plan::kSafeMemoryShare};
  if (request.pipeline_schedule != kAutomatic)
    options.schedule = plan::pipeline_schedule_from_text(request.pipeline_schedule);
  return options;
}

bool asks_for_stages(const PlanRequest& request) { return request.layout != kData; }

void require_stages_possible(const PlanRequest& request, const measure::RankSetup& setup) {
  const plan::ModeTraits& traits = plan::traits_of(setup.strategy.mode);
  if (!traits.replicates)
    throw UsageError(fmt::format(
        "--layout: the blocks of a stage lie on its rank as in --mode ddp; leave out --mode {}", traits.name));
  if (request.batches != "auto")
    throw UsageError("--batches: a layout has the batches of its replicas; leave out --batches, or --layout");
  if (is_layout_file(request)) {
    if (request.stages != kAutomatic || request.pipeline_schedule != kAutomatic)
      throw UsageError("--layout: a file has its cuts and schedule; leave out --stages and --pipeline-schedule");
  } else if (!request.total) {
    throw UsageError("--layout: stages are planned for a given number of samples a step; add --total");
  }
}

bool is_layout_file(const PlanRequest& request) { return !plan::is_layout_kind(request.layout); }

plan::Layout given_layout(comm::Communicator& communicator, const model::Model& model, const measure::RankSetup& setup,
                          const PlanRequest& request) {
  const std::string text = comm::on_rank_0(communicator, [&] {
    const plan::Layout layout = plan::read_layout(request.layout);
    require_file_fits(layout, model, setup, request, communicator.size());
    return json_text(plan::to_json(layout));
  });
  return plan::layout_from_json(parse_json(text, "--layout"), "--layout");
}

plan::Layout planned_layout(comm::Communicator& communicator, const model::Model& model, const plan::Profile& profile,
                            const PlanRequest& request) {
  const std::string text = comm::on_rank_0(communicator, [&] {
    const plan::LayoutSolution solution = plan::solve_layout(profile, layout_options(model, request));
    for (const plan::LayoutAlternative& each : solution.alternatives) spdlog::info("{}", describe(each));
    for (const std::string& line : solution.left_out) spdlog::info("{}", line);
    if (!solution.bound_by.empty()) spdlog::info("the step is bound by {}", solution.bound_by);
    return json_text(plan::to_json(solution.layout));
  });
  return plan::layout_from_json(parse_json(text, "the layout of rank 0"), "the layout of rank 0");
}

}  // namespace lshdp::train
