// Adapters in the files of Hugging Face's PEFT: adapter_model.safetensors and adapter_config.json.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "lshdp/model/lora.h"
#include "lshdp/model/model.h"
#include "lshdp/model/safetensors.h"
#include "lshdp/model/tensor_source.h"

namespace lshdp::model {

inline constexpr const char *kAdapterFile = "adapter_model.safetensors", *kAdapterConfigFile = "adapter_config.json";

/// What PEFT calls a parameter of with_lora()'s.
std::string peft_name(const std::string& parameter);

/// adapter_config.json of `model`, which has adapters, as PEFT reads it. `base`: where the model's weights lie; empty:
/// not known.
nlohmann::json adapter_config(const Model& model, const std::string& base);
/// The settings that such a file holds. Throws UsageError naming `source` and the key: what decides about the
/// mathematics and is not supported (DoRA, patterns of ranks, modules that are saved whole, biases), or is not known.
LoraSettings read_adapter_config(const nlohmann::json& config, const std::string& source);

/// An adapter's tensors under the names of with_lora()'s parameters. Throws UsageError: names that PEFT itself would
/// pass over, and as open_safetensors().
std::unique_ptr<TensorSource> open_adapter_tensors(const std::filesystem::path& file);

/// The parameters of adapters of `model` by what they are called in `tensors`, checked: all there, of the right shape,
/// finite, and nothing else. Throws UsageError. model.blocks[block]->parameters()[parameter] in float32 or float64;
/// those that are not of adapters are undefined.
Values read_adapter(const Model& model, TensorSource& tensors);

/// What a file of them holds, in the order of the parameters: names are PEFT's.
std::vector<TensorShape> adapter_shapes(const Model& model, at::ScalarType type);

}  // namespace lshdp::model
