// What a file is that was given for another: lshdp's own JSON files, and formats known by their first bytes.
#pragma once
#include <string>
#include <string_view>

#include "lshdp/core/json.h"

namespace lshdp {

/// "a profile", "a plan", "a model's description", ..: what `json` is by its keys; empty if it is none that is known.
std::string kind_of_json(const Json& json);

/// "an HDF5 file", "a safetensors file", ..: what `content` is by its first bytes; empty if it may be text.
std::string kind_of_bytes(std::string_view content);

/// Throws UsageError "SOURCE: this is A PLAN, not WANTED" if `json` is known to be something else than `wanted`, a word
/// of kind_of_json.
void refuse_other_kind(const Json& json, std::string_view wanted, const std::string& source);

}  // namespace lshdp
