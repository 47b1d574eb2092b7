// A vocabulary whose tokens are bytes, written as GPT-2 writes them, with its merges: words to tokens and back.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "word_tokens.h"

namespace lshdp::data {

/// Characters of tokens that stand for no byte (in tokens made by hand) stay as they are.
class ByteLevel final : public WordTokens {
 public:
  /// Tokens by number, without merges. Throws UsageError naming `source` if a byte has no token.
  ByteLevel(std::vector<std::string> tokens, const std::string& source);

  void set_merges(BytePairs pairs, bool whole_words) override;
  void append(std::string_view word, Tokens& tokens) const override;

 private:
  Tokens made_of(std::string_view word) const;

  std::array<std::string, 256> symbols_;
  std::array<std::uint32_t, 256> byte_tokens_{};
  bool whole_words_ = false;
  mutable std::unordered_map<std::string, Tokens> words_;  // what words became
};

}  // namespace lshdp::data
