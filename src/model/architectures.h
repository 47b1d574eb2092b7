// The kinds of model: each builds its blocks from a description whose "type" is already known.
#pragma once
#include <string>

#include "description.h"
#include "lshdp/model/model.h"

namespace lshdp::model {

/// torchvision's VisionTransformer. Keys: image_size, patch_size, num_layers, num_heads, hidden_dim, mlp_dim; channels
/// (3), num_classes (1000).
Model make_vit(Description& description, const std::string& name);
/// Hugging Face's GPT2LMHeadModel with tied head. Keys: n_layer, n_head, n_embd, n_positions, vocab_size; n_inner (4
/// n_embd), layer_norm_epsilon (1e-5), initializer_range (0.02).
Model make_gpt2(Description& description, const std::string& name);
/// Linear layers with ReLU between them. Keys: input_size, hidden_sizes, output_size.
Model make_mlp(Description& description, const std::string& name);

}  // namespace lshdp::model
