// A vocabulary whose tokens are characters, with its merges, and with bytes for the characters that it lacks, as
// SentencePiece makes them (Llama 2, Mistral): text to tokens and back.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "word_tokens.h"

namespace lshdp::data {

/// What stands for a blank.
inline constexpr std::string_view kBlankMark = "\u2581";

class CharacterLevel final : public WordTokens {
 public:
  /// Tokens by number, without merges; "<0x0A>" is the byte 10. Throws UsageError naming `source` if a byte has no such
  /// token.
  CharacterLevel(std::vector<std::string> tokens, const std::string& source);

  void set_merges(BytePairs pairs, bool whole_words) override;
  /// `word` may be a whole text, in which blanks are kBlankMark.
  void append(std::string_view word, Tokens& tokens) const override;

 private:
  void append_merged(Tokens& piece, Tokens& tokens) const;

  std::array<std::uint32_t, 256> byte_tokens_{};
  std::vector<bool> merges_;  // by token: whether it is part of a merge
};

}  // namespace lshdp::data
