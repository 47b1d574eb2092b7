// Cuts that follow from given weights of ranks, whatever blocks take.
#pragma once
#include <vector>

#include "cut_rules.h"

namespace lshdp::plan {

/// Every rank, in this order, gets blocks in proportion to its weight, one at least. A first rank that also has the
/// last stage gets the fewest blocks that the rules allow at the end. There must be enough blocks.
PipelineShape cut_in_proportion(const std::vector<std::size_t>& ranks, const std::vector<double>& weights,
                                const CutRules& rules, bool comes_back);

}  // namespace lshdp::plan
