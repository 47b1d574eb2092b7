// The search for the fastest pipeline of some ranks and a batch.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cut_rules.h"
#include "lshdp/plan/layout_planner.h"
#include "pipeline_cost.h"
#include "stage_loads.h"

namespace lshdp::plan {

/// A replica whose stages have their in_flight, and what a step takes where it is the only one.
struct RatedReplica {
  Replica replica;
  ReplicaStep step;
  double seconds = 0;
};

/// What a search shall look at.
struct PipelineTask {
  std::vector<std::size_t> ranks;  // that may have a stage, rising
  std::int64_t batch = 0;
  std::size_t holders = 1;  // replicas there are: how many ranks hold a block, which memory depends on
  StageCut cut = StageCut::automatic;
  bool all_ranks = false;  // each of `ranks` must have a stage
  double effort = 1;       // of what a search may spend
};

class PipelineSearch {
 public:
  /// `cost` must outlive it.
  PipelineSearch(const PipelineCost& cost, const LayoutNeeds& needs, PipelineSchedule schedule)
      : cost_(cost), rules_(needs), schedule_(schedule), least_with_(cost.profile().ranks.size(), 0.0) {}

  /// The fastest pipeline of two ranks or more that is found; none: none fits.
  std::optional<RatedReplica> best(const PipelineTask& task);
  /// Every pipeline of all ranks of the task, if there are no more than `most`.
  std::optional<std::vector<RatedReplica>> all(const PipelineTask& task, std::size_t most);
  /// Whether best() has looked at every pipeline.
  bool exact() const { return exact_; }
  /// Of what did not fit, the pipeline that lacks least; none: all fitted.
  const std::optional<Replica>& misfit() const { return misfit_; }
  /// By rank: the shortest step of those that were simulated in which it has a stage; 0: none.
  const std::vector<double>& least_with() const { return least_with_; }

 private:
  class Run;
  void note(const RatedReplica& rated);
  void note_misfit(const Replica& replica, std::size_t holders);

  const PipelineCost& cost_;
  CutRules rules_;
  PipelineSchedule schedule_;
  bool exact_ = true;
  std::optional<Replica> misfit_;
  double misfit_lacks_ = 0;
  std::vector<double> least_with_;
};

}  // namespace lshdp::plan
