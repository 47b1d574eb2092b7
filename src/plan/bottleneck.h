// The cut of a pipeline whose busiest stage has least to do.
#pragma once
#include <cstddef>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "cut_rules.h"
#include "stage_loads.h"

namespace lshdp::plan {

/// Whether a rank's memory holds a stage of these blocks with `behind` stages behind it.
using FitsMemory = std::function<bool(std::size_t rank, BlockRange range, std::size_t behind)>;

/// What ranks can do from the end of the model within a time: the more blocks, the better. That is exact where what
/// blocks send is alike, as in transformers. Where a pipeline comes back, its last stage begins as late as the rules
/// allow.
class Bottleneck {
 public:
  static constexpr std::size_t kMostRanks = 10;

  /// `loads` and `rules` must outlive it.
  Bottleneck(const StageLoads& loads, const CutRules& rules, FitsMemory fits)
      : loads_(loads), rules_(rules), fits_(std::move(fits)) {}

  /// With these ranks in this order, each with a stage; `comes_back`: the first one also has the last stage. None where
  /// memory or the rules forbid it.
  std::optional<PipelineShape> cut(const std::vector<std::size_t>& ranks, bool comes_back) const;

  /// With `stages` of these ranks in any order; the same, but for the rank that the pipeline comes back to. Every order
  /// of every choice of ranks is looked at: within a time, a set of ranks reaches from the end of the model what the
  /// best of them to come first adds to what the others reach. At most kMostRanks ranks.
  std::optional<PipelineShape> order(const std::vector<std::size_t>& ranks, std::size_t stages,
                                     std::optional<std::size_t> back_to) const;

 private:
  /// The first block from which `rank` can do up to `end` within `seconds`, not before `least`; none: not one block.
  std::optional<std::size_t> reach(std::size_t rank, std::size_t least, std::size_t end, double seconds,
                                   std::size_t behind, bool comes_back) const;
  /// How far `rank`, which has the last stage, gets from the model's begin within `seconds`; 0: not one block.
  std::size_t first_end(std::size_t rank, double seconds, std::size_t behind) const;
  std::optional<PipelineShape> cut_within(const std::vector<std::size_t>& ranks, bool comes_back, double seconds) const;
  std::optional<PipelineShape> order_within(const std::vector<std::size_t>& ranks, std::size_t stages,
                                            std::optional<std::size_t> back_to, double seconds) const;

  const StageLoads& loads_;
  const CutRules& rules_;
  FitsMemory fits_;
};

}  // namespace lshdp::plan
