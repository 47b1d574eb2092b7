// Pairs wait in a heap by rank; a word is a linked list, so that a merge moves nothing.
#include "byte_pairs.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <queue>
#include <tuple>

#include <fmt/format.h>

#include "lshdp/core/error.h"

namespace lshdp::data {
namespace {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

std::uint64_t pair_key(std::uint32_t left, std::uint32_t right) { return std::uint64_t{left} << 32 | right; }

}  // namespace

std::uint32_t number_of(const TokenNumbers& numbers, std::string_view text, const std::string& where) {
  const auto found = numbers.find(text);
  if (found == numbers.end()) throw UsageError(fmt::format("{}: '{}' is no token of the vocabulary", where, text));
  return found->second;
}

std::pair<std::string_view, std::string_view> split_merge(std::string_view merge, const std::string& where) {
  const std::size_t blank = merge.find(' ');
  if (blank != std::string_view::npos && merge.find(' ', blank + 1) == std::string_view::npos)
    return {merge.substr(0, blank), merge.substr(blank + 1)};
  throw UsageError(fmt::format("{}: a merge is two tokens with a blank between them", where));
}

void BytePairs::add(std::string_view left, std::string_view right, const TokenNumbers& numbers,
                    const std::string& where) {
  const Merge merge{static_cast<std::uint32_t>(in_order_.size()),
                    number_of(numbers, std::string(left) + std::string(right), where)};
  const std::uint64_t key = pair_key(number_of(numbers, left, where), number_of(numbers, right, where));
  merges_.insert_or_assign(key, merge);  // a pair that is there twice counts at its last place, as in the references
  in_order_.push_back(key);
}

/// Two neighbours that may merge; stale once either has changed.
struct BytePairs::Candidate {
  std::uint32_t rank, at, left, right, token;
  bool operator>(const Candidate& other) const { return std::tie(rank, at) > std::tie(other.rank, other.at); }
};

/// The tokens of a word as a list.
class BytePairs::Word {
 public:
  Word(const BytePairs& pairs, Tokens tokens)
      : pairs_(pairs), tokens_(std::move(tokens)), next_(tokens_.size()), previous_(tokens_.size()) {
    for (std::uint32_t i = 0; i < tokens_.size(); ++i) {
      next_[i] = i + 1 < tokens_.size() ? i + 1 : kNone;
      previous_[i] = i == 0 ? kNone : i - 1;
    }
  }

  std::optional<Candidate> candidate(std::uint32_t at) const {
    if (at == kNone || next_[at] == kNone) return std::nullopt;
    const std::uint32_t left = tokens_[at], right = tokens_[next_[at]];
    const auto found = pairs_.merges_.find(pair_key(left, right));
    if (found == pairs_.merges_.end()) return std::nullopt;
    return Candidate{found->second.rank, at, left, right, found->second.token};
  }

  /// Merges the pair, unless it is stale; the pairs that come into being are added to `made`.
  void apply(const Candidate& pair, std::vector<Candidate>& made) {
    const std::uint32_t right = next_[pair.at];
    if (tokens_[pair.at] != pair.left || right == kNone || tokens_[right] != pair.right) return;
    tokens_[pair.at] = pair.token;
    tokens_[right] = kNone;
    next_[pair.at] = next_[right];
    if (next_[right] != kNone) previous_[next_[right]] = pair.at;
    for (const std::uint32_t at : {previous_[pair.at], pair.at}) {
      if (const auto found = candidate(at)) made.push_back(*found);
    }
  }

  Tokens take() {
    std::erase(tokens_, kNone);
    return std::move(tokens_);
  }

 private:
  const BytePairs& pairs_;
  Tokens tokens_;  // kNone: merged into the one before
  std::vector<std::uint32_t> next_, previous_;
};

Tokens BytePairs::merged(Tokens tokens) const {
  const auto size = static_cast<std::uint32_t>(tokens.size());
  Word word(*this, std::move(tokens));
  std::vector<Candidate> made;
  for (std::uint32_t at = 0; at < size; ++at) {
    if (const auto found = word.candidate(at)) made.push_back(*found);
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue({}, std::move(made));
  while (!queue.empty()) {
    made.clear();
    const std::uint32_t rank = queue.top().rank;
    do {
      word.apply(queue.top(), made);
      queue.pop();
    } while (order_ == MergeOrder::rounds && !queue.empty() && queue.top().rank == rank);
    for (const Candidate& pair : made) queue.push(pair);
  }
  return word.take();
}

BytePairs parse_merges(std::string_view text, const std::string& source, const TokenNumbers& numbers) {
  BytePairs pairs(MergeOrder::rounds);
  std::size_t line_number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (line_number == 1 && line.starts_with("#version"))) continue;
    const std::string where = fmt::format("{} line {}", source, line_number);
    const auto [left, right] = split_merge(line, where);
    pairs.add(left, right, numbers, where);
  }
  return pairs;
}

}  // namespace lshdp::data
