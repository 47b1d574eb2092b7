// What all vocabularies share.
#include "word_tokens.h"

#include <array>
#include <span>
#include <utility>

#include <fmt/format.h>

#include "lshdp/core/error.h"

namespace lshdp::data {

std::vector<std::string> tokens_by_number(const Json& object, const std::string& source) {
  if (!object.is_object() || object.empty()) throw UsageError(fmt::format("{}: must be an object of tokens", source));
  std::vector<std::string> tokens(object.size());
  std::vector<bool> taken(object.size());
  for (const auto& [token, number] : object.items()) {
    const bool fits = json_is<std::uint32_t>(number) && number.get<std::size_t>() < tokens.size() &&
                      !taken[number.get<std::size_t>()];
    if (!fits) {
      throw UsageError(fmt::format("{}: the number of token '{}' is {}; numbers must be 0 to {}, each once", source,
                                   token, number.dump(), tokens.size() - 1));
    }
    tokens[number.get<std::size_t>()] = token;
    taken[number.get<std::size_t>()] = true;
  }
  return tokens;
}

WordTokens::WordTokens(std::vector<std::string> tokens) : tokens_(std::move(tokens)) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) numbers_.emplace(tokens_[i], static_cast<std::uint32_t>(i));
}

void WordTokens::add_to(Checksum& checksum) const {
  // With the closing 0, so that where one token ends and the next begins counts as well.
  for (const std::string& token : tokens_) checksum.add(std::as_bytes(std::span(token.c_str(), token.size() + 1)));
  for (const std::uint64_t pair : pairs_.in_order()) {
    std::array<std::byte, 8> bytes;  // little-endian, whatever the machine
    for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(pair >> 8 * i);
    checksum.add(bytes);
  }
}

}  // namespace lshdp::data
