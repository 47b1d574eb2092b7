// Texts by their first byte: few bytes begin one.
#include "text_matcher.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace lshdp::data {

TextMatcher::TextMatcher(std::vector<std::string> texts) : texts_(std::move(texts)) {
  for (std::size_t i = 0; i < texts_.size(); ++i)
    by_first_byte_[static_cast<unsigned char>(texts_[i].front())].push_back(i);
  for (std::vector<std::size_t>& numbers : by_first_byte_)
    std::ranges::stable_sort(numbers, std::ranges::greater(), [&](std::size_t i) { return texts_[i].size(); });
}

TextMatcher::Match TextMatcher::find(std::string_view text, std::size_t from) const {
  for (std::size_t at = from; at < text.size(); ++at) {
    for (const std::size_t number : by_first_byte_[static_cast<unsigned char>(text[at])]) {
      if (text.substr(at).starts_with(texts_[number])) return {at, at + texts_[number].size(), number};
    }
  }
  return {text.size(), text.size(), 0};
}

}  // namespace lshdp::data
