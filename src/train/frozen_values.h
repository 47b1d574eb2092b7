// Values of parameters that a run does not train: they are in no checkpoint, but where the run had them from.
#pragma once
#include <filesystem>

#include "lshdp/model/model.h"
#include "lshdp/model/weights.h"

namespace lshdp::train {

/// As read_checkpoint_values() of `model`, the checkpoint's own, of which parts may be frozen (not adapters): these
/// come from the weights that the run began with, which run.json names, or from its seed. Throws UsageError where those
/// are not there any more, or are others.
model::Values read_all_checkpoint_values(const std::filesystem::path& checkpoint, const model::Model& model);

}  // namespace lshdp::train
