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

  bool composes = false;                    // text becomes NFC
  std::vector<std::string> split_patterns;  // each splits what the one before left
  std::string pattern_place;                // what to call them in messages
  bool blank_first = false;                 // text that begins with another character gets a blank

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
