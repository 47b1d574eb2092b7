// Documents in samples of one length: which tokens share a sample.
#pragma once
#include <cstdint>
#include <vector>

#include "byte_pairs.h"

namespace lshdp::data {

/// Tokens with what a data set says of each: 0 or 1.
struct MarkedTokens {
  Tokens tokens;
  std::vector<std::uint8_t> trained;  // whether it counts in the loss
  std::vector<std::uint8_t> starts;   // whether a document begins with it

  void push(std::uint32_t token, bool is_trained, bool is_start = false);
};

/// Moves the documents of `stream`, which begins with one, into samples of `length` tokens: one is cut only where it is
/// longer, then over samples that follow each other, the last of which it shares. Longest first, each into the sample
/// with the least room that holds it (best fit decreasing). What is left of a sample is `padding`, not trained, and a
/// document of its own. Beside the stream this takes room for its copy.
MarkedTokens packed(const MarkedTokens& stream, std::int64_t length, std::uint32_t padding);

}  // namespace lshdp::data
