// lshdp optimize: from profile.json to batches.json, or to layout.json.
#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lshdp/cli/options.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/core/output.h"
#include "lshdp/core/text.h"
#include "lshdp/plan/alike_ranks.h"
#include "lshdp/plan/compute_bound.h"
#include "lshdp/plan/describe.h"
#include "lshdp/plan/describe_layout.h"
#include "lshdp/plan/layout_planner.h"
#include "lshdp/plan/layout_prediction.h"
#include "lshdp/plan/leave_out.h"
#include "lshdp/plan/other_ranks.h"
#include "lshdp/plan/solver.h"

namespace lshdp::cli {
namespace {

/// Instead of a solution: the plan of batches that a person chose, beside the solved split of the same total.
std::string plan_given_batches(const plan::Profile& profile, const std::vector<std::int64_t>& batches,
                               const plan::SolverOptions& options, const std::string& out) {
  const plan::Plan given = plan::plan_for(profile, batches, options.max_accumulation);
  if (options.total.value_or(given.total) != given.total) {
    throw UsageError(fmt::format("--batches: {} add up to {}, not to --total {}", fmt::join(batches, ","), given.total,
                                 *options.total));
  }
  plan::write_plan(out, given);
  const plan::Plan solved = plan::solve(profile, {given.total, options.max_accumulation}).plan;
  const double step = given.predicted.step_seconds, best = solved.predicted.step_seconds;
  std::string text = fmt::format("predicted step {}, {:.3f} times that of the solved split ({})\n",
                                 format_seconds(step), step / best, format_seconds(best));
  for (const std::string& doubt : plan::describe_doubts(profile, given)) text += doubt + '\n';
  return text;
}

std::string alike_text(const plan::PooledProfile& pooled) {
  std::string text;
  for (const std::string& line : plan::describe(pooled.alike)) text += line + '\n';
  return text;
}

void write_scale(const std::string& path, const std::vector<plan::ScalePoint>& points) {
  Json list = Json::array();
  for (const plan::ScalePoint& point : points) {
    const auto idle = std::ranges::count(point.plan.ranks, 0, &plan::RankPlan::batch);
    list.push_back({{"ranks", point.ranks},
                    {"total", point.plan.total},
                    {"predicted", plan::to_json(point.plan.predicted)},
                    {"idle", idle}});
  }
  write_json(path, {{"version", 1}, {"points", list}});
}

plan::LayoutOptions layout_options(const Values& values) {
  if (!values.has("total")) throw UsageError("--layout: needs --total: how many samples a step has");
  plan::LayoutOptions options{.total = values.integer("total", 1),
                              .kind = plan::layout_kind_from_text(values.text("layout")),
                              .stages = plan::stage_cut_from_text(values.text("stages")),
                              .memory_share = plan::kSafeMemoryShare};
  if (values.text("pipeline-schedule") != "auto")
    options.schedule = plan::pipeline_schedule_from_text(values.text("pipeline-schedule"));
  return options;
}

/// Instead of batches: writes the layout that is planned, or a given one with its prediction. Returns what to print.
std::string plan_layout(const plan::Profile& profile, const Values& values) {
  const std::string& layout = values.text("layout");
  if (plan::is_layout_kind(layout)) {
    const plan::LayoutSolution solution = plan::solve_layout(profile, layout_options(values));
    plan::write_layout(values.text("out"), solution.layout);
    return plan::describe(profile, solution);
  }
  if (!std::filesystem::exists(layout))
    throw UsageError(fmt::format("--layout: '{}' is no file; use data, pipeline, auto, or a layout.json", layout));
  if (values.text("stages") != "auto" || values.text("pipeline-schedule") != "auto")
    throw UsageError("--stages and --pipeline-schedule: " + layout + " says so itself; leave them out");
  const plan::LayoutPrediction prediction = plan::predict_layout(profile, plan::read_layout(layout), layout);
  if (values.has("total") && values.integer("total", 1) != plan::total_of(prediction.layout)) {
    throw UsageError(fmt::format("{}: has {} samples a step, not --total {}", layout, plan::total_of(prediction.layout),
                                 values.integer("total", 1)));
  }
  plan::write_layout(values.text("out"), prediction.layout);
  return plan::describe(profile, prediction);
}

/// Before any work is done for them. Returns the folders that are to hold them.
std::vector<NewFolders> check_outputs(const Values& values) {
  std::vector<NewFolders> folders;
  std::vector<std::filesystem::path> inputs{values.text("profile")};
  if (values.has("layout") && !plan::is_layout_kind(values.text("layout"))) inputs.emplace_back(values.text("layout"));
  for (const std::string name : {"out", "scale-out"}) {
    if (!values.has(name)) continue;
    refuse_overwriting("--" + name, values.text(name), inputs);
    folders.push_back(require_writable_file(values.text(name), "--" + name));
  }
  if (values.has("scale-out") && std::filesystem::weakly_canonical(values.text("scale-out")) ==
                                     std::filesystem::weakly_canonical(values.text("out")))
    throw UsageError("--scale-out: this is the file of --out; choose another name");
  return folders;
}

}  // namespace

Options optimize_options() {
  Options options("optimize", "Splits a step over unequal ranks so that it is as short as possible",
                  "lshdp optimize profile.json --total 128 --out batches.json");
  options.positional("profile", "the profile.json that `lshdp profile` wrote")
      .option("total", "B",
              "samples a step, exactly; without it, the smallest with 95 % of the most samples per second")
      .option("total-bound", "X",
              "without --total: no total above X times what equal batches take by the same rule (default: 4; 0: none)")
      .option("max-accumulation", "K",
              "micro-batches a rank may run in a step; 0 or absent: any number with --total, otherwise 1")
      .option("batches", "B,..", "do not solve: write the plan of these batches, one for each rank")
      .option("layout", "KIND",
              "plan a layout instead of batches: data, pipeline (stages of blocks in a row), auto (the fastest of "
              "these and what lies between), or a layout.json to predict")
      .option("stages", "CUT",
              "with --layout: uniform, speed (blocks in proportion to it), profiled (by measured times), or auto "
              "(order and number of stages free as well)",
              "auto")
      .option("pipeline-schedule", "NAME", "with --layout: 1f1b, gpipe, or auto: the faster", "auto")
      .option("scale", "N,..", "also predict the step on so many ranks like those of the profile, e.g. 64,256")
      .option("scale-out", "FILE", "where to write what --scale predicts (JSON)")
      .required("out", "FILE", "where to write the plan (batches.json, with --layout layout.json)")
      .needs("scale-out", {"scale"})
      .excludes("batches", "scale")
      .needs("stages", {"layout"})
      .needs("pipeline-schedule", {"layout"})
      .excludes("layout", "batches")
      .excludes("layout", "scale")
      .excludes("layout", "max-accumulation")
      .excludes("layout", "total-bound");
  return options;
}

int run_optimize(const Arguments& arguments) {
  const Values values = optimize_options().parse(arguments);
  if (values.help()) return 0;
  plan::SolverOptions options;
  if (values.has("total")) options.total = values.integer("total", 1);
  if (values.has("total-bound")) {
    options.total_bound = values.real("total-bound", 0, 1e9);
    if (options.total_bound > 0 && options.total_bound < 1) throw UsageError("--total-bound: must be 0 or at least 1");
    if (options.total || values.has("batches"))
      throw UsageError(
          "--total-bound: bounds the total that is chosen; leave out --total and --batches, or this option");
  }
  if (values.has("max-accumulation")) options.max_accumulation = values.integer("max-accumulation", 0);
  const std::vector<NewFolders> folders = check_outputs(values);
  const plan::PooledProfile pooled = plan::pool_alike_ranks(plan::read_profile(values.text("profile")));
  const plan::Profile& profile = pooled.profile;
  if (values.has("layout")) {
    const std::string text = plan_layout(profile, values);
    print_output(text + alike_text(pooled));
    return 0;
  }
  if (values.has("batches")) {
    const std::string text = plan_given_batches(profile, values.integers("batches", 0), options, values.text("out"));
    print_output(alike_text(pooled) + text);
    return 0;
  }
  plan::Solution solution = plan::solve(profile, options);
  solution.plan.leave_out = plan::best_left_out(profile, solution.plan, options);
  std::string text = plan::describe(profile, solution, options) + alike_text(pooled);
  if (const auto bound = plan::compute_bound_total(profile, solution.plan, options))
    text += plan::describe(*bound) + '\n';
  if (values.has("scale")) {
    const auto points = plan::predict_scale(profile, solution.plan.total, options.max_accumulation,
                                            parse_int_list(values.text("scale"), "--scale"));
    text += '\n' + plan::describe_scale(solution.plan, points);
    if (values.has("scale-out")) write_scale(values.text("scale-out"), points);
  }
  plan::write_plan(values.text("out"), solution.plan);
  print_output(text);
  return 0;
}

}  // namespace lshdp::cli
