// A layout's step event by event: when each stage works, and as a trace like that of a real run.
#pragma once
#include <vector>

#include "lshdp/core/json.h"
#include "lshdp/explore/pipeline_time.h"
#include "lshdp/explore/settings.h"
#include "lshdp/explore/step_time.h"

namespace lshdp::explore {

struct SimulatedStep {
  double seconds = 0;
  std::vector<plan::RankTimeline> timelines = {};  // by stage: one device stands for those of a stage
  std::vector<StagePass> stages = {};
  std::vector<double> gradients = {}, optimizer = {};  // by stage: seconds behind its last work, one after the other
};

/// step_time() with the pipeline simulated in place of its closed form. The layout must be one that can be.
SimulatedStep simulate_step(const Model& model, const Trainer& trainer, const Hardware& hardware, const Layout& layout);

/// Chrome trace events (lshdp/core/trace.h): one process a stage, lanes "compute", "communication" and "update".
Json simulated_trace(const Settings& settings, const Layout& layout);

}  // namespace lshdp::explore
