// Saved weights wherever they lie: a safetensors file, a Hugging Face folder, a list of shards, a run, a checkpoint.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "lshdp/model/model.h"
#include "lshdp/model/tensor_source.h"
#include "lshdp/model/weights.h"

namespace lshdp::train {

/// Where saved weights lie, and what is known of them there.
struct SavedModel {
  enum class Kind : std::uint8_t { file, shards, checkpoint } kind = Kind::file;
  std::filesystem::path weights;  // the safetensors file, the list of shards, or the checkpoint's folder
  std::filesystem::path config;   // describes their model, for model::make_model(); empty: nothing does
  std::filesystem::path run;      // the run directory that they are of; empty: none
  std::string note = {};          // what the user should know of the choice; empty: nothing
};

/// Finds the weights that `given` means: the file itself, with the config.json beside it where its name says that it
/// belongs there (also abandoned-step-N.safetensors), or of an exported model with its own description; of a folder,
/// model.safetensors or the shards of model.safetensors.index.json; of a run directory, its last weights, or its newest
/// checkpoint where that is newer (the note says so); of a checkpoint's folder, all its files. Throws UsageError naming
/// `option` where there are none.
SavedModel find_saved_model(const std::filesystem::path& given, std::string_view option);

/// The run directory that `path` lies in: RUN itself, RUN/best, RUN/checkpoints/step-N and what is beside them. Empty:
/// none.
std::filesystem::path run_around(const std::filesystem::path& path);

/// The checksums of the files that hold these weights. Throws UsageError where they cannot be read.
std::string identity_of_weights(const SavedModel& saved);

/// Logs the note. The tensors of `saved`; a checkpoint must be of `model`, but for `changes`. Throws UsageError.
std::unique_ptr<model::TensorSource> open_tensors(const SavedModel& saved, const model::Model& model,
                                                  const model::WeightChanges& changes = {});

/// The weights that `given` means, see find_saved_model(), for `model`. Throws UsageError as model::WeightReader does.
model::Values read_saved_weights(const model::Model& model, const std::filesystem::path& given,
                                 std::string_view option);
/// The same block by block, each read when it is asked for; errors come then. `model` must outlive it.
model::BlockValues saved_block_values(const model::Model& model, const std::filesystem::path& given,
                                      std::string_view option, const model::WeightChanges& changes = {});

}  // namespace lshdp::train
