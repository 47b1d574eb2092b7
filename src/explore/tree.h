// Dotted keys of a configuration.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "lshdp/core/json.h"

namespace lshdp::explore {

/// "a.b.c" -> a, b, c.
std::vector<std::string> split_key(std::string_view key);
/// The value at `key`; nullptr if it is not there. Lists are entered by index.
Json* find_value(Json& tree, const std::vector<std::string>& path);
/// "; did you mean model.seq_length?": of the keys beside the first part of `key` that is not there, or of all keys
/// that end as it does.
std::string nearest_key(const Json& tree, std::string_view key);
/// Puts `from` over `onto`: dictionaries key by key, everything else whole.
void merge(Json& onto, const Json& from);

}  // namespace lshdp::explore
