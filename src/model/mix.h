// Integers mixed so that each bit of the result depends on all: what random numbers by key are made of.
#pragma once
#include <cstdint>
#include <string_view>

namespace lshdp::model {

/// The output function of SplitMix64 (Steele, Lea, Flood 2014, doi 10.1145/2660193.2660195).
inline std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

/// FNV-1a.
inline std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

}  // namespace lshdp::model
