// Memory of every stage of a layout at its worst moment.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "lshdp/explore/layout.h"

namespace lshdp::explore {

/// Bytes on one device of a stage, at the moment of the step that takes the most.
struct StageMemory {
  std::int64_t stage = 0;
  double dense_parameters = 0, expert_parameters = 0;  // that the device holds before data parallel ranks share them
  double weights = 0, gradients = 0, master = 0, moments = 0;
  double expert_activations = 0;           // kept by layers with experts, of all micro-batches in flight
  double practice_expert_activations = 0;  // the same as frameworks keep them; this is what total() counts
  double other_activations = 0;            // attention, dense MLPs, embedding, head
  double loss = 0;                         // logits and loss; on the last stage
  double working_set = 0;                  // of backward, beyond `loss`
  double buffers = 0;                      // of communication
  double context = 0;                      // of the framework
  double margin = 0;                       // for fragmentation; not in total()
  double host = 0;                         // in host memory, for this device; not in total()

  double states() const { return weights + gradients + master + moments; }
  double activations() const { return expert_activations + other_activations + loss; }
  double practice_activations() const { return practice_expert_activations + other_activations + loss; }
  double total() const { return states() + practice_activations() + working_set + buffers + context; }
  double total_with_margin() const { return total() + margin; }
};

/// All stages, and what does not differ between them.
struct Memory {
  std::vector<StageMemory> stages = {};
  std::size_t worst = 0;  // the stage with the largest total_with_margin(), the first of those
  double loss = 0;        // bytes of logits and loss on the last stage
  double mlp = 0;         // bytes of one dense MLP's activations, without recomputation
  double moe = 0;         // of one layer's experts, as frameworks keep them
  const StageMemory& worst_stage() const { return stages[worst]; }
};

/// Memory of a layout that can be: throws std::logic_error where refusal_of() gives a reason.
Memory estimate(const Model& model, const Trainer& trainer, const Layout& layout);

/// Bytes in host memory on the node that holds the most: `by_stage` are those of one device of each stage. Stages stand
/// on the nodes one after the other.
double node_host_bytes(std::span<const double> by_stage, const Layout& layout, std::int64_t devices_per_node);

/// Idle time over computing time of a step: (PP - 1) / (interleaving x micro-batches) (arXiv 2104.04473, section 2.2).
double bubble_rate(const Model& model, const Layout& layout);

}  // namespace lshdp::explore
