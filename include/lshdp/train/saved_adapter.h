// Saved adapters wherever they lie (PEFT's files, a run, a checkpoint), and the values of models with them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "lshdp/model/lora.h"
#include "lshdp/model/model.h"
#include "lshdp/model/weights.h"

namespace lshdp::train {

/// Where an adapter lies.
struct SavedAdapter {
  std::filesystem::path folder;
  bool checkpoint = false;  // of a run that trains an adapter; else PEFT's two files
  model::LoraSettings settings = {};
  std::filesystem::path run = {};  // the run directory that it is of; empty: none
  std::string base = {};           // where the weights lie that it was trained beside; empty: not known
  std::string note = {};           // what the user should know of the choice; empty: nothing
};

/// Finds the adapter that `given` means: a folder with adapter_model.safetensors and adapter_config.json, a checkpoint,
/// or a run, of which it is the newest of the two. Throws UsageError naming `option` where there is none, and as
/// model::read_adapter_config().
SavedAdapter find_saved_adapter(const std::filesystem::path& given, std::string_view option);

/// What the user should know where the adapter names another base than the weights `init`; empty: nothing.
std::string doubt_of_base(const SavedAdapter& adapter, const std::filesystem::path& init);

/// Values of a model with adapters: its own from `base`, which are of model::base_of(), those of its adapters from
/// `adapter`, or drawn from `seed` where that is empty. Files are read when the first block is asked for; errors come
/// then. `model` must outlive it.
model::BlockValues values_with_adapter(const model::Model& model, model::BlockValues base,
                                       const std::filesystem::path& adapter, std::uint64_t seed);

/// Values of `base` with what the adapter adds to them, at least in float32. `model` must outlive it.
model::BlockValues merged_values(const model::Model& model, model::BlockValues base,
                                 const std::filesystem::path& adapter);

}  // namespace lshdp::train
