// Weights in several safetensors files, as Hugging Face cuts large models: an index says which tensor is in which.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "lshdp/model/tensor_source.h"

namespace lshdp::model {

/// Whether a file's text is such an index (model.safetensors.index.json).
bool is_shard_index(const nlohmann::json& object);

/// The file of each tensor. Throws UsageError where it is no index, or names a file outside the index's folder.
std::map<std::string, std::string> shards_of_index(const nlohmann::json& index, const std::string& source);

/// The tensors of all shards that the index names, which lie in its folder. Throws UsageError: as shards_of_index(), a
/// shard is missing or no safetensors file, a tensor is not where the index says.
std::unique_ptr<TensorSource> open_shards(const std::filesystem::path& index);

}  // namespace lshdp::model
