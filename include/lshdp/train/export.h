// Saved weights of any form to a Hugging Face style folder, or to one safetensors file.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>

#include <ATen/core/Tensor.h>

#include "lshdp/core/file.h"
#include "lshdp/model/model.h"
#include "lshdp/model/weights.h"
#include "lshdp/train/saved_model.h"

namespace lshdp::train {

struct Exported {
  std::filesystem::path weights;  // the file
  std::int64_t bytes = 0;
  at::ScalarType type = at::kFloat;
};

/// Throws UsageError naming --out where export_weights() could not write: it is there already, or cannot be made. What
/// it returns is held until the weights are written.
[[nodiscard]] NewFolders require_export_place(const std::filesystem::path& out);

/// Writes `values`, which are of `model`, block by block: to `out` if that is a name in ".safetensors", else to
/// OUT/model.safetensors, with OUT/config.json, and the tokenizer that lies with `saved`. `type`: none is that of the
/// values. Throws UsageError as `values` does,
/// and for values that `type` cannot hold; WriteError.
Exported export_weights(const model::Model& model, const model::BlockValues& values, const SavedModel& saved,
                        const std::filesystem::path& out, std::optional<at::ScalarType> type);

}  // namespace lshdp::train
