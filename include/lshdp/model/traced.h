// Models that were written in PyTorch: scripts/export_model.py traced their blocks (docs/own-models.md).
#pragma once
#include <filesystem>
#include <optional>
#include <string_view>

#include <c10/core/ScalarType.h>
#include <nlohmann/json.hpp>

#include "lshdp/model/model.h"

namespace lshdp::model {

/// "type" of their descriptions, which hold what the blocks compute as well.
inline constexpr const char* kTracedType = "traced";

/// Whether the model was written in PyTorch: its blocks know no positions, dropout, linear layers or names of others.
bool is_traced(const Model& model);

/// The description in an exported file, which is a safetensors file of first weights with the description in its
/// header. None: it is another file, or none at all. Throws UsageError on a safetensors file or a description that is
/// malformed.
std::optional<nlohmann::json> exported_description(const std::filesystem::path& path);

/// Throws UsageError naming `option` if the model's blocks do not compute in this type as PyTorch does.
void require_type(const Model& model, at::ScalarType type, std::string_view option);

}  // namespace lshdp::model
