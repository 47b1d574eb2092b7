// Where a model may be cut into stages: blocks that share a parameter must be on one rank.
#pragma once
#include <cstddef>
#include <vector>

#include "lshdp/plan/layout.h"

namespace lshdp::plan {

/// A pipeline by its cuts: stage s has the blocks up to ends[s] on ranks[s]. The last rank may be the first one again.
struct PipelineShape {
  std::vector<std::size_t> ranks, ends;
  std::size_t stages() const { return ranks.size(); }
  bool comes_back() const { return ranks.size() > 2 && ranks.front() == ranks.back(); }
  std::size_t start(std::size_t stage) const { return stage == 0 ? 0 : ends[stage - 1]; }
};

class CutRules {
 public:
  explicit CutRules(const LayoutNeeds& needs);

  std::size_t blocks() const { return blocks_; }
  /// Whether blocks share a parameter across most of the model, so that a pipeline must come back to its first rank.
  bool comes_back() const { return comes_back_; }
  /// Of a pipeline that comes back: the first stage ends at least here, the last one begins at most here.
  std::size_t least_first_end() const { return least_first_end_; }
  std::size_t most_last_start() const { return most_last_start_; }
  /// Whether a stage may end before block `cut`; of pipelines that come back: one in the middle.
  bool may_cut(std::size_t cut, bool comes_back) const { return (comes_back ? inner_ : plain_)[cut]; }
  /// Whether all blocks that share a parameter are on one rank.
  bool allows(const PipelineShape& shape) const;

 private:
  std::size_t blocks_;
  std::vector<std::pair<std::size_t, std::size_t>> shared_;
  bool comes_back_ = false;
  std::size_t least_first_end_ = 1, most_last_start_ = 0;
  std::vector<bool> plain_, inner_;  // by cut
};

}  // namespace lshdp::plan
