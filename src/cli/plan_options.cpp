// Parsing --batches and what goes with it.
#include "plan_options.h"

#include "lshdp/core/error.h"
#include "lshdp/plan/layout_planner.h"

namespace lshdp::cli {
namespace {

/// Steps between decisions; 0: off.
std::int64_t rebalance_every(const Values& values, bool profiled) {
  constexpr std::int64_t kEvery = 10;
  if (!values.has("rebalance")) return profiled ? kEvery : 0;
  return values.text("rebalance") == "off" ? 0 : values.integer("rebalance", 1);
}

}  // namespace

void add_plan_options(Options& options) {
  options
      .option("batches", "B",
              "equal, auto (measure and solve now), a list such as 8,8,24,24, or a file of lshdp optimize", "auto")
      .option(
          "total", "B",
          "samples a step over all ranks (default with auto: the smallest with 95 % of the most samples per second)")
      .option(
          "total-bound", "X",
          "auto without --total: no total above X times what equal batches take by the same rule (default: 4; 0: none)")
      .option("max-accumulation", "K",
              "micro-batches a rank may run in a step (default: as many as --total needs, 1 without it)", "0")
      .option(
          "layout", "L",
          "data (every rank has the whole model), pipeline (blocks cut into stages), auto (the fastest of these and "
          "of mixtures), or a file (layout.json)",
          "data")
      .option("stages", "CUT",
              "how a pipeline is cut: uniform (equal numbers of blocks), speed (in proportion to what ranks compute), "
              "profiled (by measured times of blocks), or auto (the same with a free order of ranks)",
              "auto")
      .option("pipeline-schedule", "S", "1f1b, gpipe, or auto (what is predicted to be faster)", "auto")
      .option("profile", "FILE",
              "the profile.json that the file of --batches was solved from, or that of --layout planned from, for "
              "--rebalance")
      .option(
          "rebalance", "N",
          "off, or consider a new split of the same total every N steps, as ranks become slower or faster; of one "
          "pipeline, other cuts between its stages (default: 10 where a profile tells what ranks can do, by --batches "
          "auto, a planned --layout or --profile; otherwise off)")
      .per_rank({"batches"});
}

train::PlanRequest plan_request(const Values& values) {
  train::PlanRequest request;
  request.batches = values.text("batches");
  if (train::is_batch_list(request.batches)) values.integers("batches");  // so that ranks compare numbers
  if (values.has("total")) request.total = values.integer("total", 1);
  request.max_accumulation = values.integer("max-accumulation", 0);
  if (values.has("total-bound")) {
    request.total_bound = values.real("total-bound", 0, 1e9);
    if (request.total_bound > 0 && request.total_bound < 1) throw UsageError("--total-bound: must be 0 or at least 1");
    if (request.total || request.batches != "auto")
      throw UsageError(
          "--total-bound: bounds the total that --batches auto chooses; leave out --total, or this option");
  }
  request.memory_given = values.has("memory");
  if (values.has("profile")) request.profile = values.text("profile");
  request.layout = values.text("layout");
  const bool planned = plan::is_layout_kind(request.layout);
  const bool measured = request.batches == "auto" && planned;
  if (measured && !request.profile.empty()) {
    throw UsageError(
        "--profile: --batches auto measures a profile of its own; give --batches FILE or --layout FILE, or leave it "
        "out");
  }
  request.stages = values.choice("stages", {"uniform", "speed", "profiled", "auto"});
  request.pipeline_schedule = values.choice("pipeline-schedule", {"1f1b", "gpipe", "auto"});
  const bool stages = request.layout != "data";
  if (!stages && (request.stages != "auto" || request.pipeline_schedule != "auto"))
    throw UsageError("--stages and --pipeline-schedule: only pipelines have stages; add --layout pipeline or auto");
  const bool profiled = measured || !request.profile.empty();
  request.rebalance = rebalance_every(values, profiled);
  request.rebalance_given = values.has("rebalance");
  if (stages && request.rebalance > 0 && !profiled)
    throw UsageError("--rebalance: a layout is cut anew by a profile of its ranks; add --profile, or leave it out");
  return request;
}

}  // namespace lshdp::cli
