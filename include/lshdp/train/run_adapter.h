// What a run that is resumed recorded of its adapters.
#pragma once
#include <filesystem>
#include <optional>

#include "lshdp/model/lora.h"

namespace lshdp::train {

struct RunAdapter {
  model::LoraSettings settings;
  std::filesystem::path init;  // the weights that the adapters are beside, as it was given; empty: drawn, or not known
};

/// Of the run that `resume`, a checkpoint or a run directory, goes on with; none where it trains no adapters, or where
/// there is no checkpoint. Throws UsageError: its run.json is damaged, and so is the checkpoint where there is none.
std::optional<RunAdapter> adapter_of_run(const std::filesystem::path& resume);

}  // namespace lshdp::train
