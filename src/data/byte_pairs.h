// The merges of a byte-pair encoding, applied in time n log n.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lshdp::data {

using Tokens = std::vector<std::uint32_t>;
/// Tokens by their text.
using TokenNumbers = std::unordered_map<std::string_view, std::uint32_t>;

/// Throws UsageError naming `where` if there is no such token.
std::uint32_t number_of(const TokenNumbers& numbers, std::string_view text, const std::string& where);

/// The two tokens of a merge as a line of merges.txt has it. Throws UsageError naming `where`.
std::pair<std::string_view, std::string_view> split_merge(std::string_view merge, const std::string& where);

/// Which pair is merged next. The two differ only where a merge makes a pair that is earlier in the list than itself.
enum class MergeOrder : std::uint8_t {
  rounds,  // every occurrence of the earliest pair, from left to right, as GPT-2's own program does it
  single,  // the first occurrence of the earliest pair, as the `tokenizers` library does it
};

class BytePairs {
 public:
  explicit BytePairs(MergeOrder order = MergeOrder::rounds) : order_(order) {}
  /// Adds the next merge of the list. Throws UsageError naming `where` if it is of or into what is no token.
  void add(std::string_view left, std::string_view right, const TokenNumbers& numbers, const std::string& where);

  /// Merges as long as there is a pair that merges.
  Tokens merged(Tokens tokens) const;
  /// Each merge as its two tokens, in the order of the file.
  const std::vector<std::uint64_t>& in_order() const { return in_order_; }

 private:
  struct Merge {
    std::uint32_t rank, token;  // how early, and what it makes
  };
  struct Candidate;
  class Word;

  MergeOrder order_;
  std::unordered_map<std::uint64_t, Merge> merges_;  // by both tokens
  std::vector<std::uint64_t> in_order_;
};

/// The merges of vocab.bpe (merges.txt), in rounds. Throws UsageError naming `source` and the line if one is malformed,
/// or of or into what is no token.
BytePairs parse_merges(std::string_view text, const std::string& source, const TokenNumbers& numbers);

}  // namespace lshdp::data
