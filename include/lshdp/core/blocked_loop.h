// A loop in blocks of fixed length, which the compiler turns into vector instructions.
#pragma once
#include <cstdint>

namespace lshdp {

inline constexpr std::int64_t kLoopBlock = 64;

/// Calls body(i) for i in [0, count), most of them in blocks whose length the compiler knows.
template <typename Body>
void blocked_loop(std::int64_t count, const Body& body) {
  std::int64_t begin = 0;
  for (; begin + kLoopBlock <= count; begin += kLoopBlock) {
    for (std::int64_t i = 0; i < kLoopBlock; ++i) body(begin + i);
  }
  for (; begin < count; ++begin) body(begin);
}

}  // namespace lshdp
