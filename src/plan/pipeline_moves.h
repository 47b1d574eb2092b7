// Small changes of a pipeline, which the search tries.
#pragma once
#include <cstddef>
#include <vector>

#include "cut_rules.h"

namespace lshdp::plan {

/// Pipelines that differ from `shape` in cuts, by up to 4 blocks, or by a block that several stages pass on. The rules
/// may forbid some of them.
std::vector<PipelineShape> moved_cuts(const PipelineShape& shape);

/// The ranks in the order of their stages, each once.
std::vector<std::size_t> order_of(const PipelineShape& shape);

/// Orders in which two ranks swap their places, or one moves to another place. With `free`: those in which one of them
/// comes in, for a rank or beside it. `drop`: those without one rank, too, but not of fewer than two.
std::vector<std::vector<std::size_t>> moved_orders(const std::vector<std::size_t>& order,
                                                   const std::vector<std::size_t>& free, bool drop);

}  // namespace lshdp::plan
