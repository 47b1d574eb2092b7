// The shapes of what goes into and comes out of each block.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "lshdp/model/model.h"

namespace lshdp::model {

/// Of one sample, without the dimension of samples: [3, 224, 224].
struct BlockShapes {
  std::vector<std::int64_t> input, output;
};

/// Of the first `blocks` blocks. Runs each once, on one sample (of texts, where it can, on one token of it) on the CPU,
/// with parameters of 0 that take no memory.
std::vector<BlockShapes> shapes_of(const Model& model, std::size_t blocks);
inline std::vector<BlockShapes> shapes_of(const Model& model) { return shapes_of(model, model.blocks.size()); }

}  // namespace lshdp::model
