// The value of an override, from its words.
#pragma once
#include <cstddef>
#include <string_view>

#include "lshdp/core/json.h"

namespace lshdp::explore {

/// Parses what stands in `override` from `position` on. Throws UsageError.
Json parse_value(std::string_view override, std::size_t position);

}  // namespace lshdp::explore
