// StoreMemory: what a store holds, by what it is for and by where it lies.
#pragma once
#include <cstdint>

namespace lshdp::parallel {

/// Bytes.
struct MemoryParts {
  std::int64_t parameters = 0;  // in the compute type, and master weights where these are apart
  std::int64_t gradients = 0;   // sums over micro-batches and ranks
  std::int64_t moments = 0;
  std::int64_t buffers = 0;  // what transfers receive into, or send from
  std::int64_t total() const { return parameters + gradients + moments + buffers; }
};

/// Of one rank, for as long as the store lives. What a step needs beside it (activations, a block's gradients, rows
/// looked up) is not in it.
struct StoreMemory {
  MemoryParts device;
  MemoryParts host;  // of this rank
  MemoryParts node;  // host memory that the ranks of a node share; counted on its leader, 0 on the others
};

}  // namespace lshdp::parallel
