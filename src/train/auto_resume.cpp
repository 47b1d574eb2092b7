// Decides by what lies in a run directory.
#include "lshdp/train/auto_resume.h"

#include <optional>
#include <string>

#include <fmt/format.h>

#include "checkpoint.h"
#include "checkpoint_manifest.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"
#include "lshdp/model/peft.h"
#include "lshdp/model/weights.h"
#include "lshdp/plan/strategy.h"
#include "lshdp/train/run_file.h"
#include "resume.h"
#include "run_data.h"
#include "saved_step.h"

namespace lshdp::train {
namespace {

namespace fs = std::filesystem;
using Kind = AutoResume::Kind;

bool has_weights(const fs::path& run) {
  return fs::exists(run / model::kWeightsFile) || fs::exists(run / model::kAdapterFile);
}

/// An option of a launch as it was given, or by default; empty: it had no value.
std::string option_of(const Json& launch, const char* name, const std::string& source) {
  return json_value_or<std::string>(json_value<Json>(launch, "options", source), name, "", source + ": options");
}

std::int64_t number_of(const Json& launch, const char* name, const std::string& source) {
  const std::string text = option_of(launch, name, source);
  return text.empty() ? 0 : parse_int(text, source + ": options: " + name);
}

/// Whether weights of `step`, which the launch ended with, are as far as this run is to come.
bool is_far_enough(const Json& launch, std::int64_t step, const TrainOptions& options, const std::string& source) {
  if (options.steps) return step >= *options.steps;
  if (step < json_value<std::int64_t>(launch, "steps", source)) return false;
  return number_of(launch, "epochs", source) >= *options.epochs;
}

/// What a launch was, in the form that resumes are compared in.
CheckpointInfo info_of(const Json& launch, std::int64_t step, const std::string& source) {
  const Json plan = json_value<Json>(launch, "plan", source);
  const Json model = json_value<Json>(launch, "model", source);
  return {.step = step,
          .total = json_value<std::int64_t>(plan, "total", source + ": plan"),
          .seed = static_cast<std::uint64_t>(number_of(launch, "seed", source)),
          .strategy = {.precision = plan::precision_from_text(option_of(launch, "precision", source)),
                       .wire = plan::wire_from_text(option_of(launch, "wire", source))},
          .model = json_value<Json>(model, "description", source + ": model"),
          .training = json_value<Json>(launch, "training", source),
          .data = json_value<Json>(launch, "data", source)};
}

/// The steps of a run in options.results that this one would only repeat; none: it is not there, or not finished.
std::optional<std::int64_t> finished_steps(const model::Model& model, const TrainOptions& options, const Json& data,
                                           std::optional<std::int64_t> total) {
  const fs::path& run = options.results;
  const std::string source = (run / "run.json").string();
  const std::int64_t step = step_of_last_weights(run);
  const Json launch = read_last_launch(run);
  if (step < 0 || launch.is_null() || !is_far_enough(launch, step, options, source)) return std::nullopt;
  const CheckpointInfo written = info_of(launch, step, source);
  CheckpointInfo now = known_info(model, options, data, written);
  now.total = total.value_or(written.total);
  require_same_run(run, written, now, options.resume_with_changes);
  return step;
}

AutoResume decide(const model::Model& model, const TrainOptions& options, const Json& data,
                  std::optional<std::int64_t> total) {
  const fs::path& run = options.results;
  if (const std::optional<std::int64_t> steps = finished_steps(model, options, data, total)) {
    spdlog::info("--resume auto: the run in {} has done its {} steps: nothing is left to do", run.string(), *steps);
    return {.kind = Kind::finished, .resume = {}, .steps = *steps};
  }
  if (!checkpoints_of(run).empty()) {
    spdlog::info("--resume auto: the run in {} goes on from its newest good checkpoint", run.string());
    return {.kind = Kind::go_on, .resume = run};
  }
  if (has_weights(run))
    throw UsageError(
        fmt::format("--resume auto: {0} holds weights, but no checkpoint to go on from; take another "
                    "folder (and --init {0} to begin with them), or replace the run with --overwrite in "
                    "place of --resume",
                    run.string()));
  spdlog::info("--resume auto: {} has no checkpoint: the run begins at its first step", run.string());
  return {};
}

}  // namespace

AutoResume find_auto_resume(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options,
                            std::optional<std::int64_t> total) {
  const Json data = identity_by_rank_0(communicator, options.data);
  const std::string text = comm::on_rank_0(communicator, [&] {
    const AutoResume found = decide(model, options, data, total);
    return json_text({{"kind", static_cast<int>(found.kind)}, {"steps", found.steps}});
  });
  const Json said = Json::parse(text);
  const auto kind = static_cast<Kind>(said["kind"].get<int>());
  return {.kind = kind, .resume = kind == Kind::go_on ? options.results : fs::path(), .steps = said["steps"]};
}

}  // namespace lshdp::train
