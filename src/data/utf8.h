// Characters of UTF-8 text, one at a time.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lshdp::data {

struct Utf8Character {
  std::uint32_t code = 0;
  std::size_t size = 1;  // bytes
  bool valid = false;    // false: the byte is no UTF-8, and stands alone
};

/// The character that begins at `at`, which must be below text.size().
Utf8Character utf8_character(std::string_view text, std::size_t at);

/// Appends a code point.
void append_utf8(std::uint32_t code, std::string& text);

}  // namespace lshdp::data
