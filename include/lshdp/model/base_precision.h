// In how many bits weights are held that are not trained.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace lshdp::model {

/// How frozen weights are held. full: as the computation takes them. int8: one byte a value, a scale for each row. nf4:
/// half a byte a value, a scale for each 64. nf4_double: the same, with those scales in one byte each.
enum class BasePrecision : std::uint8_t { full, int8, nf4, nf4_double };

/// "full", "int8", "nf4", "nf4-double". The reader throws UsageError otherwise.
std::string to_text(BasePrecision precision);
BasePrecision base_precision_from_text(std::string_view text);

}  // namespace lshdp::model
