// How long a step of a layout takes: stages, pipeline, exchange of gradients, optimizer.
#pragma once
#include <cstdint>
#include <vector>

#include "lshdp/explore/layer_time.h"

namespace lshdp::explore {

/// Seconds of a step and what they are spent on; 0: not computed.
struct StepTime {
  double seconds = 0;
  double compute = 0;    // of the slowest stage, all micro-batches, with recomputation
  double exchange = 0;   // its collectives of TP, CP and EP, gathers of sharded weights, transfers, that nothing hides
  double bubble = 0;     // what the pipeline takes longer
  double gradients = 0;  // exchange of gradients and updated weights behind the last backward
  double optimizer = 0;
  /// Of the busiest link between a device and its host, hidden or not: no part of the sum.
  double host_transfers = 0;
};

/// In closed form, for a layout that can be. Pipelines: see pipeline_seconds(). At the end of the step, each stage:
///
/// - sums gradients over the DP x CP ranks, layer by layer while the last backward goes on: of G seconds of sums behind
///   a backward of B seconds and L layers, max(G/L, G - B (L - 1)/L) are left over. NO_OP by an all-reduce, the others
///   by a reduce-scatter (arXiv 1910.02054, section 7).
/// - OPTIMIZER_STATES_AND_GRADS sums in each micro-batch, by the same rule; FULLY_SHARD gathers each layer's weights in
///   forward and again in backward and scatters its gradients, each behind the layer before (arXiv 2304.11277, section
///   3): what is longer than the layer counts, and the first gather of each pass.
/// - updates what it owns, reading and writing its states once, and its gradients once more for their norm.
/// - OPTIMIZER_STATES and OPTIMIZER_STATES_AND_GRADS then gather the weights; nothing hides that.
///
/// With offload, gradients that are summed go on to the host by the same rule, as far as each rank has a part of them;
/// fully sharded weights come from there before they are gathered, each unit's behind the computing of the one before.
/// What of this nothing hides counts as exchange or gradients. The host updates once all gradients are there.
///
/// The step ends with the stage that ends last. A shared embedding's gradients are summed between the first and the
/// last stage (arXiv 2104.04473).
StepTime step_time(const Model& model, const Trainer& trainer, const Hardware& hardware, const Layout& layout);

/// Operations that a step needs a token, whatever is computed twice: 6 N + 6 L s (a d_qk + a d_v), N parameters that
/// are multiplied with (the token's experts; not the embedding's table), attention without regard to causality (PaLM,
/// arXiv 2204.02311, appendix B).
double model_flops_per_token(const Model& model);
/// Model operations over what the devices could do in that time.
double model_flops_utilization(const Model& model, const Trainer& trainer, const Device& device, const Layout& layout,
                               double seconds);

/// Tokens of a step; an image has one a patch.
double tokens_per_step(const Model& model);

}  // namespace lshdp::explore
