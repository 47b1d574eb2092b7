// Unicode's normalization form C: letters and their marks as single characters where there are such.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lshdp::data {

/// With the characters of Unicode 9, as the `tokenizers` library does it. What is newer has no marks to join with.
class Composer {
 public:
  Composer();
  /// Bytes that are not UTF-8 stay as they are, and nothing joins across them.
  std::string operator()(std::string_view text) const;

 private:
  using Codes = std::vector<std::uint32_t>;
  bool may_change(std::uint32_t code) const { return code < may_change_.size() && may_change_[code]; }
  std::uint8_t class_of(std::uint32_t code) const;
  void take_apart(std::uint32_t code, Codes& parts) const;
  void order_marks(Codes& codes) const;
  /// 0 if they do not join.
  std::uint32_t joined(std::uint32_t left, std::uint32_t right) const;
  Codes composed(const Codes& codes) const;

  std::unordered_map<std::uint32_t, std::pair<std::uint32_t, std::uint32_t>> parts_;  // second: 0 if there is one
  std::unordered_map<std::uint64_t, std::uint32_t> joined_;                           // by both
  std::unordered_map<std::uint32_t, std::uint8_t> classes_;                           // of marks
  std::vector<bool> may_change_;  // by character: by itself, or with what stands before it
};

}  // namespace lshdp::data
