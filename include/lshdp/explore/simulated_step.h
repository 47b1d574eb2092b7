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

/// One replica of the model: its stages, which may be on devices of their own speed, and its micro-batches of a step.
struct SimulatedReplica {
  std::vector<StagePass> stages = {};
  std::int64_t micro_batches = 1;
};

/// A step of many replicas, every rank event by event: [replica][stage].
struct SimulatedCluster {
  double seconds = 0;
  std::vector<std::vector<plan::RankTimeline>> replicas = {};
  std::vector<double> exchange_begin = {};  // by stage: the end of the last replica's last work there
};

/// Each replica's pipeline by itself; the ranks of a stage then exchange gradients together, `gradients` seconds by
/// stage from when the last of them is ready, and update for `optimizer` seconds. All have the same number of stages.
SimulatedCluster simulate_cluster(const std::vector<SimulatedReplica>& replicas, std::int64_t interleaving,
                                  const std::vector<double>& gradients, const std::vector<double>& optimizer);

/// Chrome trace events (lshdp/core/trace.h): one process a stage, lanes "compute", "communication" and "update".
Json simulated_trace(const Settings& settings, const Layout& layout);

}  // namespace lshdp::explore
