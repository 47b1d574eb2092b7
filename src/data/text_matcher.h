// Which of some texts comes next in a long one.
#pragma once
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace lshdp::data {

class TextMatcher {
 public:
  /// None of `texts` may be empty.
  explicit TextMatcher(std::vector<std::string> texts);

  struct Match {
    std::size_t begin, end;
    std::size_t number;  // which of the texts it is
  };
  /// The first at or after `from`, the longest if several begin there; begin is text.size() if there is none.
  Match find(std::string_view text, std::size_t from) const;

  const std::vector<std::string>& texts() const { return texts_; }

 private:
  std::vector<std::string> texts_;
  std::array<std::vector<std::size_t>, 256> by_first_byte_;  // numbers, longest text first
};

}  // namespace lshdp::data
