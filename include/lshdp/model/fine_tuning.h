// What fine-tuning changes of a model: parameters that stay as they are, rates by layer, a fresh head, other positions.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lshdp/model/model.h"

namespace lshdp::model {

/// Where Model::description holds the patterns of with_frozen().
inline constexpr const char* kFreezeKey = "freeze";

/// `base` whose parameters of matching names are not trained. `patterns`: as Python's fnmatch has them, `*` stands for
/// dots as well. Throws UsageError naming `source`: a pattern that matches nothing, nothing left to train, adapters.
Model with_frozen(Model base, const std::vector<std::string>& patterns, const std::string& source);
/// Those patterns; empty: none.
std::vector<std::string> frozen_patterns(const Model& model);

/// `base` whose layers have rates of their own (Parameter::rate), as BEiT has them (Bao et al. 2021, arXiv 2106.08254):
/// factor^(N + 1 - l) in a model of N layers, l being 0 for the embeddings, 1 to N for the layers, N + 1 for the last
/// norm and the head. Throws UsageError naming --layer-decay where the model's layers are not known.
Model with_layer_decay(Model base, double factor);

/// Where Model::description holds what with_dropout() gave; missing: 0.
inline constexpr const char *kDropoutKey = "dropout", *kStochasticDepthKey = "stochastic_depth";

/// `base`, a ViT, with torchvision's dropout (but in attention) and stochastic depth of this probability in the last
/// layer, less in those before, while it trains: both by what Pass::dropout says, so that no split changes them. Throws
/// UsageError naming the option that another model does not have.
Model with_dropout(const Model& base, double dropout, double stochastic_depth);

/// Names of the parameters that give the scores of classes; empty: the model has none of its own, or they are not
/// known.
std::vector<std::string> classification_head(const Model& model);

/// Throws UsageError naming --new-head: the model's head is not known, or would stay as it is drawn.
void require_new_head(const Model& model);

/// Whether this is the parameter of a ViT's positions, [1, 1 + patches, width].
bool is_positions(const Model& model, const Parameter& parameter);
/// Positions [1, 1 + n * n, width] for side * side patches, bicubic between the corners; the class token's stays.
at::Tensor interpolated_positions(const at::Tensor& positions, std::int64_t side);
/// n of n * n patches in positions of that shape; 0: they are none of a square.
std::int64_t side_of_positions(const at::Tensor& positions);

}  // namespace lshdp::model
