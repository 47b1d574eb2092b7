// The merges of a byte-pair encoding, applied in time n log n.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace lshdp::data {

using Tokens = std::vector<std::uint32_t>;
/// Tokens by their text.
using TokenNumbers = std::unordered_map<std::string_view, std::uint32_t>;

/// Throws UsageError naming `where` if there is no such token.
std::uint32_t number_of(const TokenNumbers& numbers, std::string_view text, const std::string& where);

class BytePairs {
 public:
  BytePairs() = default;
  /// Of the text of vocab.bpe (merges.txt). Throws UsageError naming `source`: malformed, a merge of or into what is no
  /// token.
  BytePairs(std::string_view text, const std::string& source, const TokenNumbers& numbers);

  /// As the reference does it: as long as there is a pair that merges, every occurrence of the earliest in the list is
  /// merged, from left to right.
  Tokens merged(Tokens tokens) const;
  /// Each merge as its two tokens, in the order of the file.
  const std::vector<std::uint64_t>& in_order() const { return in_order_; }

 private:
  struct Merge {
    std::uint32_t rank, token;  // how early, and what it makes
  };
  struct Candidate;
  class Word;

  std::unordered_map<std::uint64_t, Merge> merges_;  // by both tokens
  std::vector<std::uint64_t> in_order_;
};

}  // namespace lshdp::data
