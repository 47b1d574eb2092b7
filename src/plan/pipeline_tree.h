// All pipelines of some ranks for one cut of the batch, but for those that a bound shows to be slower.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "cut_rules.h"
#include "stage_loads.h"

namespace lshdp::plan {

class PipelineTree {
 public:
  /// Called with each pipeline whose least_seconds() are below the limit. Returns the limit from then on.
  using Visit = std::function<double(const PipelineShape&)>;

  /// All must outlive it. `kinds`: by rank of the profile; of ranks of one kind the lower one comes first.
  PipelineTree(const StageLoads& loads, const CutRules& rules, const std::vector<std::size_t>& ranks,
               const std::vector<std::size_t>& kinds, bool all_ranks);

  /// Visits those below `limit`, two ranks at least. Takes a node from `nodes` for each stage that it tries; false:
  /// there were not enough of them.
  bool walk(double limit, std::int64_t& nodes, const Visit& visit);

 private:
  struct Chain {
    std::size_t start = 0;         // of the next stage
    double before = 0, after = 0;  // until its first micro-batch is there, and from its last one's gradient
  };
  void place(const Chain& chain);
  void place_on(std::size_t at, const Chain& chain);
  void come_back(std::size_t at);
  void finish();
  bool enough_left(const Chain& chain) const;
  bool first_of_kind(std::size_t at) const;

  const StageLoads& loads_;
  const CutRules& rules_;
  const std::vector<std::size_t>& ranks_;
  const std::vector<std::size_t>& kinds_;
  bool all_ranks_;
  /// Indices of ranks_, the fastest first, and models a second of each one.
  std::vector<std::size_t> falling_;
  std::vector<double> speed_;  // by index of ranks_
  /// Sums of each block's least part of the time that any rank takes for the model.
  std::vector<double> parts_before_;
  /// Of a stage's work, at least so much passes before the next stage can begin, or after it has ended.
  double passing_ = 0;

  double limit_ = 0;
  std::int64_t* nodes_ = nullptr;
  const Visit* visit_ = nullptr;
  bool complete_ = true;
  bool comes_back_ = false;
  std::size_t end_ = 0;  // of the chain of stages
  PipelineShape shape_;
  std::vector<bool> used_;  // by index of ranks_
};

}  // namespace lshdp::plan
