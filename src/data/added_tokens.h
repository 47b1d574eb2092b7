// Tokens that are found in text as they are, before it is split into words.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text_matcher.h"

namespace lshdp::data {

struct AddedToken {
  std::string text;
  std::uint32_t number = 0;
  bool special = false;  // only if special tokens are asked for
};

class AddedTokens {
 public:
  explicit AddedTokens(std::vector<AddedToken> tokens);

  /// Cuts `text` at the tokens that it holds: calls on_text(part) and on_token(number) in their order. Special tokens
  /// are found without `special` as well, but stay part of the text.
  template <typename OnText, typename OnToken>
  void for_each_part(std::string_view text, bool special, OnText on_text, OnToken on_token) const {
    std::size_t done = 0;
    for (TextMatcher::Match found = matcher_.find(text, 0); found.begin < text.size();
         found = matcher_.find(text, found.end)) {
      const AddedToken& token = tokens_[found.number];
      if (token.special && !special) continue;
      if (found.begin > done) on_text(text.substr(done, found.begin - done));
      on_token(token.number);
      done = found.end;
    }
    if (done < text.size()) on_text(text.substr(done));
  }

 private:
  std::vector<AddedToken> tokens_;
  TextMatcher matcher_;
};

}  // namespace lshdp::data
