// Adding vectors of a type that is known at run time.
#pragma once
#include <cstdint>

#include "lshdp/comm/communicator.h"

namespace lshdp::comm {

/// into[i] += from[i] for `count` elements of float32 or float64; the two do not overlap.
void add_elements(DataType type, void* into, const void* from, std::int64_t count);

}  // namespace lshdp::comm
