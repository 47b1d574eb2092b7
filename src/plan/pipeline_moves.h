// Small changes of a pipeline, which the search tries.
#pragma once
#include <cstddef>
#include <vector>

#include "cut_rules.h"

namespace lshdp::plan {

/// What a move may change beside the cuts.
struct MoveFreedom {
  bool order = false;                  // ranks swap their stages
  std::vector<std::size_t> free = {};  // ranks that may come in for another, or get a part of a stage
  bool drop = false;                   // a rank may lose its stage
};

/// Pipelines that differ from `shape` in one cut, by up to 4 blocks, or in one rank. The rules may forbid some of them.
std::vector<PipelineShape> moves_of(const PipelineShape& shape, const MoveFreedom& freedom);

}  // namespace lshdp::plan
