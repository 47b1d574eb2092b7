// The parts of a stage's memory that a search computes once for many layouts, and their sum.
#pragma once
#include <vector>

#include "lshdp/explore/activations.h"
#include "lshdp/explore/memory.h"
#include "lshdp/explore/stages.h"

namespace lshdp::explore {

/// What a device of a stage holds before data parallel ranks share it out.
struct StageParameters {
  double dense = 0, expert = 0;
  /// Of the largest part that is gathered, or whose gradients are summed, at once: a layer, the embedding or the head.
  double largest_unit = 0;
  /// Of the larger of embedding and head, where the stage has one: one tensor whose gradient is made whole.
  double table = 0;
};

/// Depends on TP, EP and the stages.
std::vector<StageParameters> stage_parameters(const Model& model, const Layout& layout,
                                              const std::vector<Stage>& stages);

/// Bytes that do not depend on sharding.
struct StageActivations {
  double expert = 0, practice_expert = 0, other = 0, loss = 0, working_set = 0, buffers = 0;
};

/// One micro-batch's bytes by the parts of the model, for a layout's TP, EP, CP, sequence parallelism, micro-batch and
/// recomputation.
struct MicroBatchActivations {
  LayerActivations layer;
  KeptActivations kept;
  double embedding = 0, head = 0, loss = 0;
  double dense_working_set = 0, expert_working_set = 0;
  double buffers = 0;
};
MicroBatchActivations micro_batch_activations(const Model& model, const Trainer& trainer, const Layout& layout);

/// A stage at the worst of `moments`.
StageActivations stage_activations(const Stage& stage, const std::vector<InFlight>& moments,
                                   const MicroBatchActivations& bytes);

/// What turns a stage's parts into its memory, for one sharding level and number of data parallel ranks.
struct SharedOut {
  SharedOut(const Trainer& trainer, const Layout& layout);
  BytesPerParameter dense, expert;
  double dense_bytes, expert_bytes;  // their sums
  double dense_host_bytes = 0, expert_host_bytes = 0;
  double unit_bytes;   // buffers of gathers and of sums, a parameter of the largest unit
  double table_bytes;  // of the gradient of the table, a parameter, beside where gradients add up
  double buckets;      // of the framework
  double context, fragmentation;

  /// Of exchanges between data parallel ranks, and of gradients on their way there.
  double buffers(const StageParameters& parameters) const {
    return parameters.largest_unit * unit_bytes + parameters.table * table_bytes + buckets;
  }
  /// In host memory, of one device.
  double host(const StageParameters& parameters) const {
    return parameters.dense * dense_host_bytes + parameters.expert * expert_host_bytes;
  }
};

/// StageMemory::total_with_margin(), at once.
inline double total_with_margin(const SharedOut& shared, const StageParameters& parameters,
                                const StageActivations& activations) {
  const double states = parameters.dense * shared.dense_bytes + parameters.expert * shared.expert_bytes;
  const double passing = activations.practice_expert + activations.other + activations.loss + activations.working_set +
                         activations.buffers + shared.buffers(parameters);
  return states + passing * (1 + shared.fragmentation) + shared.context;
}

StageMemory stage_memory(std::int64_t stage, const SharedOut& shared, const StageParameters& parameters,
                         const StageActivations& activations);

}  // namespace lshdp::explore
