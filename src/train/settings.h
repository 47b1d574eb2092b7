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

/// {"--lr": 0.001, ...}: by option, with what it came to.
Json training_settings(const TrainOptions& options);

/// What a checkpoint was written with and this run has otherwise, each as "--lr 0.001 (now 0.0005)".
std::vector<std::string> changes_since(const CheckpointInfo& written, const CheckpointInfo& now);

}  // namespace lshdp::train
