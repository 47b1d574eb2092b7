// Weights of a whole model in and out of safetensors, under the names of torchvision and Hugging Face.
#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include "lshdp/model/model.h"

namespace lshdp::model {

/// One tensor (float32 unless the file holds float64) per parameter: values[b][i] belongs to
/// model.blocks[b]->parameters()[i].
using Values = std::vector<std::vector<at::Tensor>>;

/// Reads every parameter of `model`. Accepts Hugging Face's "transformer." prefix and ignores its non-parameters
/// (lm_head.weight tied to the embedding, attn.bias masks). Throws UsageError naming the tensor if one is missing,
/// has another shape, or is in the file but not in the model.
Values read_weights(const Model& model, const std::filesystem::path& path);
/// Writes every parameter once, each in the type of its value. Throws WriteError; std::invalid_argument if `values` is
/// not of `model`.
void write_weights(const Model& model, const Values& values, const std::filesystem::path& path);
/// Fresh values from `seed`.
Values initial_values(const Model& model, std::uint64_t seed);

}  // namespace lshdp::model
