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
/// n_embd), layer_norm_epsilon (1e-5), initializer_range (0.02), context (n_positions).
Model make_gpt2(Description& description, const std::string& name);
/// Hugging Face's LlamaForCausalLM, Qwen2ForCausalLM or MistralForCausalLM, by `family`: "llama", "qwen2" or "mistral".
/// Keys: num_hidden_layers, hidden_size, intermediate_size, num_attention_heads, num_key_value_heads (of "llama":
/// num_attention_heads), max_position_embeddings, vocab_size; head_dim (hidden_size / num_attention_heads),
/// rms_norm_eps (1e-6), initializer_range (0.02), tie_word_embeddings (false), rope_parameters, context
/// (max_position_embeddings); of "llama": attention_bias, mlp_bias (false).
Model make_llama(Description& description, const std::string& family, const std::string& name);
/// Blocks traced from PyTorch (traced.h). `object` is their description.
Model make_traced(const Json& object, const std::string& name, const std::string& source);
/// Linear layers with ReLU between them. Keys: input_size, hidden_sizes, output_size.
Model make_mlp(Description& description, const std::string& name);

}  // namespace lshdp::model
