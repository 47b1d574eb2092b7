// Random numbers that are a function of their key alone, so that every rank, machine and restart draws the same.
#pragma once
#include <cstdint>

#include "lshdp/core/mix.h"

namespace lshdp::data {

/// A stream of numbers keyed by up to three integers.
class KeyedRandom {
 public:
  explicit constexpr KeyedRandom(std::uint64_t seed, std::uint64_t a = 0, std::uint64_t b = 0)
      : state_(mix_bits(mix_bits(mix_bits(seed + step) ^ (a + 2 * step)) ^ (b + 3 * step))) {}

  constexpr std::uint64_t next() { return mix_bits(state_ += step); }

  /// Uniform in [0, bound), bound from 1 to 2^32.
  constexpr std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(((next() >> 32) * static_cast<std::uint64_t>(bound)) >> 32);
  }

  /// Uniform in [0, bound), bound from 1 to 2^63.
  constexpr std::int64_t below_wide(std::int64_t bound) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::int64_t>(Wide{next()} * static_cast<std::uint64_t>(bound) >> 64);
  }

  /// Uniform in [0, 1).
  constexpr double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  static constexpr std::uint64_t step = 0x9e3779b97f4a7c15ULL;
  std::uint64_t state_;
};

}  // namespace lshdp::data
