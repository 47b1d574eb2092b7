// A vocabulary with its merges: words to tokens and back.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "byte_pairs.h"
#include "lshdp/core/checksum.h"
#include "lshdp/core/json.h"

namespace lshdp::data {

/// Tokens by number, of an object {token: number}. Throws UsageError naming `source` unless numbers are 0 .. n - 1.
std::vector<std::string> tokens_by_number(const Json& object, const std::string& source);

/// One thread at a time.
class WordTokens {
 public:
  /// Tokens by number.
  explicit WordTokens(std::vector<std::string> tokens);
  virtual ~WordTokens() = default;
  WordTokens(const WordTokens&) = delete;
  WordTokens& operator=(const WordTokens&) = delete;

  /// With `whole_words`, a word that is a token becomes it, whatever merges would make of it.
  virtual void set_merges(BytePairs pairs, bool whole_words) = 0;
  /// Appends the tokens of a word.
  virtual void append(std::string_view word, Tokens& tokens) const = 0;

  const TokenNumbers& numbers() const { return numbers_; }
  std::size_t size() const { return tokens_.size(); }
  /// The bytes of a token below size().
  const std::string& bytes_of(std::size_t token) const { return bytes_[token]; }
  /// Adds tokens and merges: the same for two writings of the same.
  void add_to(Checksum& checksum) const;

 protected:
  const std::vector<std::string>& tokens() const { return tokens_; }
  std::vector<std::string> bytes_;  // by token
  BytePairs pairs_;

 private:
  std::vector<std::string> tokens_;
  TokenNumbers numbers_;  // views into tokens_
};

}  // namespace lshdp::data
