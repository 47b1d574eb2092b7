// Shapes of what goes from block to block.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "lshdp/model/model.h"

namespace lshdp::model {

/// What each of the first `blocks` blocks gives for one sample, the batch of 1 in front: {1, tokens, hidden}. Found by
/// running them with parameters that are zero, in float32 on the CPU.
std::vector<std::vector<std::int64_t>> output_shapes(const Model& model, std::size_t blocks);

}  // namespace lshdp::model
