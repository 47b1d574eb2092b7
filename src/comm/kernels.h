// Loops over elements: adding, and rounding to and from bf16. bf16 is the upper half of an fp32.
#pragma once
#include <cstdint>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// into[i] += from[i] for `count` elements of float32 or float64; the two do not overlap.
void add_elements(DataType type, void* into, const void* from, std::int64_t count);
/// into[i] += from[i], `from` in bf16.
void add_bf16(float* into, const std::uint16_t* from, std::int64_t count);
/// Rounds to the nearest bf16, ties to even; NaN stays NaN.
void round_to_bf16(const float* from, std::uint16_t* to, std::int64_t count);
/// Exact. `from` may be the second half of the memory of `to`.
void widen_bf16(const void* from, void* to, std::int64_t count);

}  // namespace lshdp::comm
