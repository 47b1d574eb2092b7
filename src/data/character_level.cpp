// Characters, or their bytes, merged between the tokens that no merge has.
#include "character_level.h"

#include <utility>

#include <fmt/format.h>

#include "utf8.h"

namespace lshdp::data {
namespace {

std::string with_blanks(std::string_view token) {
  std::string text;
  for (std::size_t at = 0; at < token.size();) {
    const bool blank = token.substr(at).starts_with(kBlankMark);
    text += blank ? ' ' : token[at];
    at += blank ? kBlankMark.size() : 1;
  }
  return text;
}

}  // namespace

CharacterLevel::CharacterLevel(std::vector<std::string> tokens, const std::string& source)
    : WordTokens(std::move(tokens)) {
  for (const std::string& token : this->tokens()) bytes_.push_back(with_blanks(token));
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const std::uint32_t number =
        number_of(numbers(), fmt::format("<0x{:02X}>", byte), fmt::format("{}: byte {}", source, byte));
    byte_tokens_[byte] = number;
    bytes_[number] = std::string(1, static_cast<char>(byte));
  }
}

/// A word that is a token is always made by its merges here.
void CharacterLevel::set_merges(BytePairs pairs, bool /*whole_words*/) {
  pairs_ = std::move(pairs);
  merges_.assign(size(), false);
  for (const std::uint64_t pair : pairs_.in_order())
    merges_[pair >> 32] = merges_[static_cast<std::uint32_t>(pair)] = true;
}

void CharacterLevel::append(std::string_view word, Tokens& tokens) const {
  Tokens piece;  // since the last token that no merge has: such a token ends what can be merged
  const auto add = [&](std::uint32_t token) {
    piece.push_back(token);
    if (!merges_[token]) append_merged(piece, tokens);
  };
  for (std::size_t at = 0; at < word.size();) {
    const std::string_view character = word.substr(at, utf8_character(word, at).size);
    at += character.size();
    const auto found = numbers().find(character);
    if (found != numbers().end()) {
      add(found->second);
    } else {
      for (const char byte : character) add(byte_tokens_[static_cast<unsigned char>(byte)]);
    }
  }
  append_merged(piece, tokens);
}

void CharacterLevel::append_merged(Tokens& piece, Tokens& tokens) const {
  const Tokens merged = pairs_.merged(std::exchange(piece, {}));
  tokens.insert(tokens.end(), merged.begin(), merged.end());
}

}  // namespace lshdp::data
