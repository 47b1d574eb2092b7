// The search for the fastest pipeline of some ranks and a batch.
#pragma once
#include <cstddef>
#include <optional>
#include <vector>

#include "cut_rules.h"
#include "pipeline_cost.h"
#include "pipeline_rater.h"

namespace lshdp::plan {

/// Cuts with the least busiest stage (bottleneck.h), moved while the simulated step gets shorter, from several starts;
/// then, up to 10 ranks, branch and bound (pipeline_tree.h). What is spent is counted, not timed, so that the same
/// profile gives the same pipeline.
class PipelineSearch {
 public:
  /// `cost` must outlive it.
  PipelineSearch(const PipelineCost& cost, const LayoutNeeds& needs, PipelineSchedule schedule);

  /// The fastest pipeline of two ranks or more that is found; none: none fits.
  std::optional<RatedReplica> best(const PipelineTask& task);
  /// Every pipeline of all ranks of the task, if there are no more than `most`.
  std::optional<std::vector<RatedReplica>> all(const PipelineTask& task, std::size_t most);

  /// Whether best() has looked at every pipeline, each time.
  bool exact() const { return exact_; }
  const SearchNotes& notes() const { return notes_; }

 private:
  const PipelineCost& cost_;
  CutRules rules_;
  PipelineSchedule schedule_;
  bool exact_ = true;
  SearchNotes notes_;
};

}  // namespace lshdp::plan
