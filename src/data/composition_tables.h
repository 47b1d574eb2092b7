// Which characters of Unicode are made of others, and the order of marks.
#pragma once
#include <cstdint>
#include <span>

namespace lshdp::data {

/// A character that stands for `first` and `second` (0: for `first` alone), which may be made of others themselves.
struct Decomposition {
  std::uint32_t code, first, second;
  bool joins;  // in form C, the two become the one
};
/// Without Korean syllables.
std::span<const Decomposition> decompositions();

/// The combining class of marks, never 0; what is in no range has class 0.
struct MarkClass {
  std::uint32_t first, last;
  std::uint8_t value;
};
std::span<const MarkClass> mark_classes();

}  // namespace lshdp::data
