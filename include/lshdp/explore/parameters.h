// Parameters of a model, exactly, and of the part that one device holds.
#pragma once
#include <cstdint>

#include "lshdp/explore/model.h"

namespace lshdp::explore {

/// Parameters of one layer on one of `tensor` x `expert` devices.
struct LayerParameters {
  std::int64_t attention = 0;         // matrices
  std::int64_t mlp = 0;               // matrices of the dense MLP, or of shared experts
  std::int64_t norms_and_biases = 0;  // also the router's bias
  std::int64_t router = 0;
  std::int64_t experts = 0;  // matrices of the routed experts: their data parallel ranks are fewer
  std::int64_t dense() const { return attention + mlp + norms_and_biases + router; }
  std::int64_t sum() const { return dense() + experts; }
};

/// Matrices are cut over `tensor` devices as in Megatron-LM (arXiv 1909.08053, section 3); what follows a cut along
/// rows (norms, biases of output projections), the router and latent attention's way down are whole on each.
LayerParameters layer_parameters(const Model& model, bool expert_layer, std::int64_t tensor, std::int64_t expert);

/// What stands before the first layer: token or patch embedding, learned positions, class token.
std::int64_t embedding_parameters(const Model& model, std::int64_t tensor);
/// What stands behind the last layer: its norm and the head. `with_embedding`: on the stage that holds the embedding
/// too, a shared head is counted there; another stage has a copy of it (arXiv 2104.04473).
std::int64_t head_parameters(const Model& model, std::int64_t tensor, bool with_embedding);

/// Parameters of the whole model, each once.
std::int64_t total_parameters(const Model& model);
/// Those that one token meets: of the routed experts, k.
std::int64_t active_parameters(const Model& model);

}  // namespace lshdp::explore
