// Times of blocks that compute the same, averaged.
#pragma once
#include <vector>

#include "lshdp/plan/profile.h"

namespace lshdp::plan {

/// One block's pass takes little, and a core that is shared comes and goes: single blocks are timed badly, while what
/// they take together is right. Blocks of the same parameters, activations and output compute the same. So each gets
/// the mean share that its kind has of all blocks' time, over measured batches of a fourth to four times the size.
std::vector<BlockTimes> average_equal_blocks(const std::vector<BlockProfile>& blocks,
                                             const std::vector<BlockTimes>& measured);

}  // namespace lshdp::plan
