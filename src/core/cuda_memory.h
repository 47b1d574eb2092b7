// The memory of a CUDA device, as LibTorch's caching allocator sees it.
#pragma once
#include <cstdint>
#include <memory>

#include "lshdp/core/memory.h"

namespace lshdp {

/// Counts what tensors hold on device `index`, of this process. Limit and peak are of what the allocator keeps for
/// them, which is somewhat more.
std::unique_ptr<MemoryCounter> make_cuda_memory_counter(int index);
/// Bytes of the device that no process has taken, and what this process's allocator keeps unused.
std::int64_t free_cuda_memory(int index);

}  // namespace lshdp
