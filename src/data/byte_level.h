// A vocabulary whose tokens are bytes, written as GPT-2 writes them, with its merges: words to tokens and back.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "byte_pairs.h"
#include "lshdp/core/checksum.h"
#include "lshdp/core/json.h"

namespace lshdp::data {

/// Tokens by number, of an object {token: number}. Throws UsageError naming `source` unless numbers are 0 .. n - 1.
std::vector<std::string> tokens_by_number(const Json& object, const std::string& source);

/// One thread at a time.
class ByteLevel {
 public:
  /// Tokens by number, without merges. Throws UsageError naming `source` if a byte has no token.
  ByteLevel(std::vector<std::string> tokens, const std::string& source);
  ByteLevel(const ByteLevel&) = delete;
  ByteLevel& operator=(const ByteLevel&) = delete;

  /// With `whole_words`, a word that is a token becomes it, whatever merges would make of it.
  void set_merges(BytePairs pairs, bool whole_words);
  const TokenNumbers& numbers() const { return numbers_; }
  std::size_t size() const { return tokens_.size(); }

  /// Appends the tokens of a word.
  void append(std::string_view word, Tokens& tokens) const;
  /// The bytes of a token below size(); characters that stand for no byte (in tokens made by hand) stay as they are.
  const std::string& bytes_of(std::size_t token) const { return bytes_[token]; }
  /// Adds tokens and merges: the same for two writings of the same.
  void add_to(Checksum& checksum) const;

 private:
  Tokens made_of(std::string_view word) const;

  std::vector<std::string> tokens_, bytes_;
  TokenNumbers numbers_;  // views into tokens_
  std::array<std::string, 256> symbols_;
  std::array<std::uint32_t, 256> byte_tokens_{};
  BytePairs pairs_;
  bool whole_words_ = false;
  mutable std::unordered_map<std::string, Tokens> words_;  // what words became
};

}  // namespace lshdp::data
