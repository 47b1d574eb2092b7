// The search for replicas of which some have several stages: between data parallel training and one pipeline.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "layout_cost.h"
#include "lshdp/plan/layout.h"
#include "pipeline_search.h"

namespace lshdp::plan {

struct MixedLayout {
  Layout layout;
  double seconds = 0;
};

struct MixedTask {
  std::vector<std::size_t> ranks;  // that may have a stage, rising
  std::int64_t total = 0;
  double to_beat = 0;  // seconds; slower layouts are of no use
};

/// Ranks are put into groups, one for each replica: up to 6 ranks in every way, and every choice of ranks left out;
/// beyond, groups of equal speed. Each group gets the fastest pipeline for its share of the batch, and shares move from
/// the slowest replica to the fastest one while the step gets shorter. Where there are few pipelines, all of them are
/// tried with all shares. None: nothing beats `to_beat`.
class MixedSearch {
 public:
  /// `cost` must outlive it.
  MixedSearch(const PipelineCost& cost, const LayoutNeeds& needs, PipelineSchedule schedule);

  std::optional<MixedLayout> best(const MixedTask& task);
  /// As PipelineSearch has it.
  const std::vector<double>& least_with() const { return least_with_; }

 private:
  class Run;
  void note(const Layout& layout, double seconds);

  const PipelineCost& cost_;
  PipelineSchedule schedule_;
  PipelineSearch pipelines_;
  std::vector<double> least_with_;
};

}  // namespace lshdp::plan
