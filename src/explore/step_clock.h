// What a search computes once for the step times of many layouts, and their sum.
#pragma once
#include <vector>

#include "lshdp/explore/pipeline_time.h"
#include "lshdp/explore/stages.h"
#include "lshdp/explore/step_time.h"
#include "stage_memory.h"

namespace lshdp::explore {

/// Parameters that are gathered, or whose gradients are summed, at once. Depends on TP and EP.
struct UnitParameters {
  double dense_layer = 0;
  double expert_layer = 0, experts = 0;  // of an expert layer: all but its experts, and those of this device
  double embedding = 0, head = 0;
};
UnitParameters unit_parameters(const Model& model, const Layout& layout);

/// What one micro-batch takes in a stage, and of how many layers; nothing of it depends on sharding or devices.
struct StageWork {
  PassTimes pass;
  double dense_layers = 0, expert_layers = 0;
  double embeddings = 0, heads = 0;  // 0 or 1
  double units() const { return dense_layers + expert_layers + embeddings + heads; }
};
std::vector<StageWork> stage_work(const std::vector<Stage>& stages, const MicroBatchTimes& times);

/// All that a step's time is made of. What it points to must outlive it.
struct StepParts {
  const Model* model = nullptr;
  const Trainer* trainer = nullptr;
  const Hardware* hardware = nullptr;
  const UnitParameters* units = nullptr;
  const std::vector<StageParameters>* parameters = nullptr;
  const MicroBatchTimes* times = nullptr;
  const std::vector<StageWork>* work = nullptr;
};

/// What belongs to a stage's pass of a micro-batch, and to its end of the step.
struct StageEnd {
  double compute = 0;                   // of the pass, without what waits for collectives
  double gradients = 0, optimizer = 0;  // seconds behind the last backward, one after the other
};

/// A step of stages that need not be alike.
StepTime step_of(const std::vector<StagePass>& passes, const std::vector<StageEnd>& ends, std::int64_t interleaving,
                 std::int64_t micro_batches);

/// Stages of one layout after the other, in memory that is used again.
class StepClock {
 public:
  StepTime time(const StepParts& parts, const Layout& layout, const SharedOut& shared);
  // By stage, of the layout before.
  const std::vector<StagePass>& passes() const { return passes_; }
  const std::vector<StageEnd>& ends() const { return ends_; }

 private:
  std::vector<StagePass> passes_;
  std::vector<StageEnd> ends_;
};

/// A layout that can be, by itself.
StepTime time_of(const Model& model, const Trainer& trainer, const Hardware& hardware, const Layout& layout,
                 StepClock& clock);

}  // namespace lshdp::explore
