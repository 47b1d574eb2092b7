// Comparing a checkpoint with the run that is to go on from it.
#include "resume.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "checkpoint_manifest.h"
#include "lshdp/comm/agree.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "run_data.h"
#include "saved_step.h"
#include "settings.h"

namespace lshdp::train {

namespace fs = std::filesystem;

namespace {

/// Whether a run that came to `step` has not written its weights of it.
bool lacks_weights(const fs::path& run, std::int64_t step) {
  return fs::exists(run / "run.json") && step_of_last_weights(run) != step;
}

}  // namespace

CheckpointInfo checkpoint_info(const model::Model& model, const TrainOptions& options, const nlohmann::json& data,
                               std::int64_t step, std::int64_t total) {
  return {.step = step,
          .total = total,
          .seed = options.seed,
          .strategy = options.setup.strategy,
          .model = model.description,
          .training = training_settings(options),
          .data = data,
          .program = options.invocation.program};
}

CheckpointInfo known_info(const model::Model& model, const TrainOptions& options, const nlohmann::json& data,
                          const CheckpointInfo& written) {
  TrainOptions known = options;
  known.schedule.total_steps = options.steps.value_or(0);
  CheckpointInfo now = checkpoint_info(model, known, data, written.step, written.total);
  if (!options.steps) now.training.erase(kLengthSetting);
  return now;
}

void require_steps_left(const fs::path& checkpoint, const CheckpointInfo& written, std::int64_t last_step) {
  if (written.step < last_step || (written.step == last_step && lacks_weights(run_of(checkpoint), last_step))) return;
  throw UsageError(
      fmt::format("--resume: {} has done {} steps already; ask for more --steps or --epochs, or take its weights "
                  "as they are (lshdp export; an adapter: --adapter, lshdp merge-lora)",
                  checkpoint.string(), written.step));
}

namespace {

/// What differs of two descriptions: "; lora then {..}, now {..}".
std::string changes_of_model(const Json& then, const Json& now) {
  std::string changes;
  for (const auto& [key, value] : now.items()) {
    const Json before = then.value(key, Json());
    if (before != value) changes += fmt::format("; {} then {}, now {}", key, json_text(before), json_text(value));
  }
  if (then.contains("lora") && !now.contains("lora")) changes += "; it has adapters: give its --lora";
  for (const char* option : {"freeze", "dropout", "stochastic_depth"}) {
    if (then.contains(option) && !now.contains(option))
      changes += fmt::format("; {} then {}, now none", option, json_text(then[option]));
  }
  return changes;
}

}  // namespace

void require_same_run(const fs::path& checkpoint, const CheckpointInfo& written, const CheckpointInfo& now,
                      bool with_changes) {
  if (written.model != now.model)
    throw UsageError(fmt::format("--resume: {} was written with another model{}", checkpoint.string(),
                                 changes_of_model(written.model, now.model)));
  const std::vector<std::string> changes = changes_since(written, now);
  if (changes.empty() || with_changes) return;
  throw UsageError(
      fmt::format("--resume: {} was written with {}; give what it was written with, or add --resume-with-changes",
                  checkpoint.string(), fmt::join(changes, ", ")));
}

void require_resumable(comm::Communicator& communicator, const model::Model& model, const TrainOptions& options) {
  if (options.resume.empty()) return;
  const Json data = identity_by_rank_0(communicator, options.data);
  comm::on_rank_0(communicator, [&] {
    const fs::path checkpoint = find_checkpoint(options.resume);
    CheckpointInfo written;
    try {
      written = read_checkpoint_info(checkpoint);
    } catch (const DamagedCheckpoint&) {
      return std::string();  // another one may be taken in its place
    }
    if (options.steps) require_steps_left(checkpoint, written, *options.steps);
    require_same_run(checkpoint, written, known_info(model, options, data, written), options.resume_with_changes);
    return std::string();
  });
}

}  // namespace lshdp::train
