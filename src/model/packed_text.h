// Bytes that a JSON text holds: packed by zlib, then written as base64.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace lshdp::model {

/// The bytes that `text` stands for. Throws UsageError naming `source`: no base64, damaged, or more than `limit` bytes.
std::string unpacked(std::string_view text, std::size_t limit, const std::string& source);

}  // namespace lshdp::model
