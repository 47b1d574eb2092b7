// Bytes as GPT-2 writes them, and words that are remembered.
#include "byte_level.h"

#include <utility>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "utf8.h"

namespace lshdp::data {
namespace {

/// GPT-2 writes each byte as a printable character: itself where it is one in Latin-1, otherwise one from U+0100 on, in
/// order.
std::array<std::string, 256> byte_symbols() {
  std::array<std::string, 256> symbols;
  std::uint32_t next = 0x100;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    append_utf8(printable ? byte : next++, symbols[byte]);
  }
  return symbols;
}

std::string bytes_by_symbols(const std::string& token, const std::unordered_map<std::string_view, char>& bytes) {
  std::string result;
  for (std::size_t at = 0; at < token.size();) {
    std::size_t end = at + 1;
    while (end < token.size() && (static_cast<unsigned char>(token[end]) & 0xc0) == 0x80) ++end;
    const std::string_view symbol = std::string_view(token).substr(at, end - at);
    const auto found = bytes.find(symbol);
    result += found == bytes.end() ? std::string(symbol) : std::string(1, found->second);
    at = end;
  }
  return result;
}

void append_all(const Tokens& more, Tokens& tokens) { tokens.insert(tokens.end(), more.begin(), more.end()); }

}  // namespace

ByteLevel::ByteLevel(std::vector<std::string> tokens, const std::string& source)
    : WordTokens(std::move(tokens)), symbols_(byte_symbols()) {
  std::unordered_map<std::string_view, char> bytes;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    byte_tokens_[byte] = number_of(numbers(), symbols_[byte], fmt::format("{}: byte {}", source, byte));
    bytes.emplace(symbols_[byte], static_cast<char>(byte));
  }
  for (const std::string& token : this->tokens()) bytes_.push_back(bytes_by_symbols(token, bytes));
}

void ByteLevel::set_merges(BytePairs pairs, bool whole_words) {
  pairs_ = std::move(pairs);
  whole_words_ = whole_words;
}

/// Short words repeat: what they become is kept, up to a million of them.
void ByteLevel::append(std::string_view word, Tokens& tokens) const {
  constexpr std::size_t most_words = 1'000'000, longest = 128;
  if (word.size() > longest) return append_all(made_of(word), tokens);
  const std::string key(word);
  auto found = words_.find(key);
  if (found == words_.end()) {
    if (words_.size() >= most_words) words_.clear();
    found = words_.emplace(key, made_of(word)).first;
  }
  append_all(found->second, tokens);
}

Tokens ByteLevel::made_of(std::string_view word) const {
  if (whole_words_) {
    std::string token;
    for (const char c : word) token += symbols_[static_cast<unsigned char>(c)];
    if (const auto found = numbers().find(token); found != numbers().end()) return {found->second};
  }
  Tokens tokens;
  tokens.reserve(word.size());
  for (const char c : word) tokens.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
  return pairs_.merged(std::move(tokens));
}

}  // namespace lshdp::data
