// What decides about the mathematics of a run beside its model: compared where a run is resumed.
#pragma once
#include <string>
#include <vector>

#include "checkpoint.h"
#include "lshdp/core/json.h"
#include "lshdp/train/trainer.h"

namespace lshdp::train {

/// How long the run is, where its schedule asks.
inline constexpr const char* kLengthSetting = "--steps (or --epochs)";

/// In place of the checksums of the weights that a run began with, where they were drawn.
inline constexpr const char* kDrawn = "none";

/// The decay of the moving average of weights; 0: none.
inline constexpr const char* kEmaSetting = "--ema";

/// {"--lr": 0.001, ...}: by option, with what it came to.
Json training_settings(const TrainOptions& options);

/// Whether the checkpoint holds a moving average of its weights.
bool holds_averages(const CheckpointInfo& info);

/// What a checkpoint was written with and this run has otherwise, each as "--lr 0.001 (now 0.0005)".
std::vector<std::string> changes_since(const CheckpointInfo& written, const CheckpointInfo& now);

}  // namespace lshdp::train
