// Bytes that one micro-batch takes on a device from its forward to its backward, by the parts of a transformer.
#pragma once
#include <cstdint>

#include "lshdp/explore/layout.h"

namespace lshdp::explore {

/// Bytes kept for one layer. Sources: Korthikanti et al., arXiv 2205.05198, sections 4 and 5, whose sum with dropout
/// and stored scores is s b h (10 + 24/t + 5 a s/(h t)); each part's own source stands in activations.cpp.
struct LayerActivations {
  double attention = 0;       // with its norm
  double attention_core = 0;  // of `attention`: scores, or what flash attention keeps of them
  double mlp_norm = 0;        // the input of the norm before an MLP or before experts
  double mlp = 0;             // a dense MLP
  double moe = 0;             // router, shared experts and routed experts, with what goes to them cut over TP
  double practice_moe = 0;    // the same where each TP rank keeps its experts' inputs and outputs whole
};

/// What backward needs of a layer that recomputes nothing.
LayerActivations layer_activations(const Model& model, const Trainer& trainer, const Layout& layout);

/// What the layout's recomputation leaves of a layer's activations, in bytes.
struct KeptActivations {
  double attention = 0;  // and norms; of a layer that is computed again, its input
  double mlp = 0;
  double moe = 0, practice_moe = 0;
};
KeptActivations kept_activations(const Model& model, const Trainer& trainer, const Layout& layout,
                                 const LayerActivations& layer);

/// Bytes beside the layers, of one micro-batch.
double embedding_activations(const Model& model, const Layout& layout);
/// Inputs of the last norm and of the head.
double head_activations(const Model& model, const Trainer& trainer, const Layout& layout);
/// Logits, their float32 copy and their gradient.
double loss_activations(const Model& model, const Trainer& trainer, const Layout& layout);

/// The most that backward of one layer has at once beside what is kept: gradients, and what is computed again.
double working_set(const Model& model, const Trainer& trainer, const Layout& layout, const LayerActivations& layer,
                   bool expert_layer);

/// Buffers of tensor, pipeline, context and expert parallel communication.
double communication_buffers(const Model& model, const Trainer& trainer, const Layout& layout);

}  // namespace lshdp::explore
