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
  if (found == numbers.end()) throw UsageError(fmt::format("{}: '{}' is no token of the encoder", where, text));
  return found->second;
}

BytePairs::BytePairs(std::string_view text, const std::string& source, const TokenNumbers& numbers) {
  std::uint32_t line_number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || (line_number == 1 && line.starts_with("#version"))) continue;
    const std::string where = fmt::format("{} line {}", source, line_number);
    const std::size_t blank = line.find(' ');
    if (blank == std::string_view::npos || line.find(' ', blank + 1) != std::string_view::npos) {
      throw UsageError(fmt::format("{}: a merge is two tokens with a blank between them", where));
    }
    const std::string_view left = line.substr(0, blank), right = line.substr(blank + 1);
    const Merge merge{line_number, number_of(numbers, std::string(left) + std::string(right), where)};
    const std::uint64_t key = pair_key(number_of(numbers, left, where), number_of(numbers, right, where));
    if (merges_.emplace(key, merge).second) in_order_.push_back(key);
  }
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
    // Pairs made in this round wait for its end, as in the reference, also where they are of an earlier rank.
    made.clear();
    for (const std::uint32_t rank = queue.top().rank; !queue.empty() && queue.top().rank == rank; queue.pop())
      word.apply(queue.top(), made);
    for (const Candidate& pair : made) queue.push(pair);
  }
  return word.take();
}

}  // namespace lshdp::data
