// Changes inputs of parsers in the ways that break them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "lshdp/core/json.h"
#include "reader.h"

namespace lshdp::test {

inline constexpr std::size_t kMaxInput = 1 << 16;  // bytes

class Random {
 public:
  explicit Random(std::uint64_t seed) : generator_(seed) {}
  /// In [0, bound); 0 if bound is 0.
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : generator_() % bound; }
  template <typename Container>
  const auto& of(const Container& container) {
    return container[below(container.size())];
  }
  char byte() { return static_cast<char>(generator_() & 0xff); }

 private:
  std::mt19937_64 generator_;
};

/// Flips bits, changes, cuts, repeats, inserts bytes and takes some of `others`; puts extreme numbers for numbers. At
/// most kMaxInput bytes are left.
void mutate_bytes(std::string& text, const std::vector<std::string>& others, Random& random);

/// Replaces, removes, repeats or swaps values of the tree that `text` is; false, with nothing changed, if it is none.
bool mutate_json(std::string& text, Random& random);

}  // namespace lshdp::test
