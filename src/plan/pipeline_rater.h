// What a pipeline costs that a search looks at: simulated with the in_flight that its memory and links ask for.
#pragma once
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "cut_rules.h"
#include "lshdp/plan/layout_planner.h"
#include "pipeline_cost.h"
#include "stage_loads.h"

namespace lshdp::plan {

/// A replica whose stages have their in_flight, its simulated step, and what a step takes where it is the only one.
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
  /// Seconds; a slower pipeline is of no use, and may not be the best of its kind.
  double to_beat = std::numeric_limits<double>::infinity();
};

/// What people are told of layouts that were not taken.
struct SearchNotes {
  std::vector<double> least_with = {};  // by rank: the shortest simulated step in which it has a stage; 0: none
  std::optional<Replica> misfit = {};   // of the pipelines that did not fit, the one that lacks least
  double misfit_lacks = 0;              // bytes needed over bytes there are, of its worst rank
};

class PipelineRater {
 public:
  /// All must outlive it.
  PipelineRater(const PipelineCost& cost, const CutRules& rules, PipelineSchedule schedule, const PipelineTask& task,
                SearchNotes& notes)
      : cost_(cost), rules_(rules), schedule_(schedule), task_(task), notes_(notes) {}

  const PipelineCost& cost() const { return cost_; }
  const CutRules& rules() const { return rules_; }
  const PipelineTask& task() const { return task_; }
  bool is_gpipe() const { return schedule_ == PipelineSchedule::gpipe; }
  /// Of a batch cut into `count` micro-batches.
  const StageLoads& loads(std::int64_t count);

  /// With the in_flight for which it is fastest, of a few; none: it does not fit, or is not faster than `to_beat`.
  std::optional<RatedReplica> rate(const PipelineShape& shape, std::int64_t count, double to_beat);
  /// With `more` in flight than the schedule has (set_in_flight).
  std::optional<RatedReplica> rate_in_flight(const PipelineShape& shape, std::int64_t count, std::int64_t more);
  /// With every in_flight that there is.
  std::vector<RatedReplica> rate_all(const PipelineShape& shape, std::int64_t count);

  /// Simulated work of stages so far, and what else takes time, in its measure.
  std::int64_t spent() const { return spent_; }
  void spend(std::int64_t works) { spent_ += works; }

 private:
  void note_misfit(const Replica& replica);
  std::vector<std::int64_t> flights(std::int64_t stages, std::int64_t count) const;

  const PipelineCost& cost_;
  const CutRules& rules_;
  PipelineSchedule schedule_;
  const PipelineTask& task_;
  SearchNotes& notes_;
  std::map<std::int64_t, StageLoads> loads_;
  std::int64_t spent_ = 0;
};

}  // namespace lshdp::plan
