// Resume: whether a checkpoint is one that the run at hand may go on from.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint.h"
#include "lshdp/train/trainer.h"

namespace lshdp::train {

/// What a checkpoint of `step` of this run says of itself. `total`: samples a step.
CheckpointInfo checkpoint_info(const model::Model& model, const TrainOptions& options, const nlohmann::json& data,
                               std::int64_t step, std::int64_t total);

/// The same of what is known before batches are: `written`, the checkpoint to go on from, says step and total. Without
/// options.steps the length of the run is not there.
CheckpointInfo known_info(const model::Model& model, const TrainOptions& options, const nlohmann::json& data,
                          const CheckpointInfo& written);

/// Throws UsageError where the checkpoint is of step `last_step` or later, unless the run was killed after that step
/// and before its weights were written.
void require_steps_left(const std::filesystem::path& checkpoint, const CheckpointInfo& written, std::int64_t last_step);

/// Throws UsageError where what was written would change the mathematics unnoticed: another model, or without
/// `with_changes` other settings.
void require_same_run(const std::filesystem::path& checkpoint, const CheckpointInfo& written, const CheckpointInfo& now,
                      bool with_changes);

}  // namespace lshdp::train
