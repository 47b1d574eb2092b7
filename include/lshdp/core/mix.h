// Bits mixed so that each of the result depends on all: what random numbers by key are made of.
#pragma once
#include <cstdint>
#include <string_view>

namespace lshdp {

/// Scrambles 64 bits one to one (the output function of SplitMix64: Steele, Lea, Flood 2014, doi
/// 10.1145/2660193.2660195).
constexpr std::uint64_t mix_bits(std::uint64_t bits) {
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9ULL;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebULL;
  return bits ^ (bits >> 31);
}

/// FNV-1a.
constexpr std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

}  // namespace lshdp
