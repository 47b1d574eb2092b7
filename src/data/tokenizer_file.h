// What a tokenizer.json says, where this program can do it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lshdp/core/json.h"

namespace lshdp::data {

struct TokenizerFile {
  Json vocabulary;  // {token: number}
  Json merges;      // "a b" or ["a", "b"], as the file has them
  bool whole_words = false;
  bool byte_fallback = false;  // tokens are characters, and bytes of those that are none; else all are bytes

  bool composes = false;                    // text becomes NFC
  std::vector<std::string> split_patterns;  // each splits what the one before left
  std::string pattern_place;                // what to call them in messages
  bool blank_first = false;                 // text that begins with another character gets a blank

  /// With byte_fallback: where text gets a blank before it. In each text between added tokens (always), or only in that
  /// which begins the whole (first), unless it begins with one; each_part: in each, whatever it begins with.
  enum class BlankBefore : std::uint8_t { never, always, first, each_part } blank_before = BlankBefore::never;
  bool splits_at_blanks = false;  // each blank begins a word

  struct Added {
    std::string text;
    std::uint32_t number = 0;
    bool special = false;
    bool normalized = false;  // looked for once the text is NFC, as NFC
  };
  std::vector<Added> added;  // in the order of their numbers

  struct Framing {
    std::string token;
    std::uint32_t number = 0;
  };
  std::optional<Framing> begin, end;  // what the template puts around a text
};

/// Throws UsageError naming `source` and the key: missing, malformed, or not supported. Whether numbers of tokens fit
/// together is for others to check.
TokenizerFile parse_tokenizer_file(const Json& file, const std::string& source);

}  // namespace lshdp::data
