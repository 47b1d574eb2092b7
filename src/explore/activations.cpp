// Activations by the parts of a transformer. Sizes are for one micro-batch; `element` is the bytes of an activation.
#include "lshdp/explore/activations.h"

#include <algorithm>

#include "sizes.h"

namespace lshdp::explore {
namespace {

/// A dropout's mask has a byte an element (arXiv 2205.05198, section 4.1).
constexpr double kMask = 1;
constexpr double kFloat32 = 4;

double hidden_mask(const Model& model, const Sizes& s) {
  return model.hidden_dropout > 0 ? kMask * s.tokens * s.h / s.u : 0;
}

/// Standard attention keeps the softmax, and with dropout its mask and output (arXiv 2205.05198, section 4.1: 5 a s^2 b
/// at 2 bytes). Flash attention keeps the logarithm of each row's sum in float32 (arXiv 2205.14135, section 3.1).
double attention_core(const Model& model, const Trainer& trainer, const Sizes& s) {
  if (trainer.flash_attention) return kFloat32 * s.heads * s.tokens / s.t;
  const double dropout = model.attention_dropout > 0 ? kMask + s.element : 0;
  return (s.element + dropout) * s.heads * s.tokens * s.sequence / s.t;
}

/// Inputs of the norm, of the three projections (one for all), of the core and of the output projection (arXiv
/// 2205.05198, section 4.1). Norms over queries and keys keep their inputs.
double attention(const Model& model, const Sizes& s) {
  const AttentionWidths width = attention_widths(model);
  const double normed = model.qk_norm ? width.query + width.key : 0;
  const double whole = (2 * s.h + width.compressed) / s.u;
  const double cut = (width.query + width.key + width.value + width.output + normed) / s.t;
  return s.element * s.tokens * (whole + cut) + hidden_mask(model, s);
}

/// Hidden layer: its input to the activation function and the output; with a gate (arXiv 2002.05202), also the product.
double hidden_layer(const Model& model, const Sizes& s, double ffn) {
  return s.element * (model.activation == Activation::swiglu ? 3 : 2) * s.tokens * ffn / s.t;
}

double mlp(const Model& model, const Sizes& s) {
  return s.element * s.tokens * s.h / s.u + hidden_layer(model, s, number(model.ffn_hidden_size)) +
         hidden_mask(model, s);
}

/// The router's input, scores and probabilities (float32); shared experts read the same input. Routed experts keep what
/// is sent to them, their hidden layer, and their output, which the router's gradient needs (arXiv 2211.15841).
double moe(const Model& model, const Layout& layout, const Sizes& s, double dispatch_cut) {
  const Experts& moe = model.moe;
  const double router = s.tokens * (s.element * s.h + 2 * kFloat32 * number(moe.num_experts)) / s.u;
  const double shared = hidden_layer(model, s, number(moe.num_shared_experts * moe.ffn_hidden_size));
  const double to_and_from = 2 * s.element * s.tokens * s.h / dispatch_cut;
  const double routed = to_and_from + hidden_layer(model, s, number(moe.ffn_hidden_size));
  return router + shared + dispatched_tokens(model, layout) * routed + hidden_mask(model, s);
}

/// Gradients within an MLP: of the hidden layer's tensors.
double mlp_gradients(const Model& model, const Layout& layout, const Sizes& s, bool expert_layer) {
  if (!expert_layer) return hidden_layer(model, s, number(model.ffn_hidden_size));
  const double shared = hidden_layer(model, s, number(model.moe.num_shared_experts * model.moe.ffn_hidden_size));
  return std::max(shared, dispatched_tokens(model, layout) *
                              (hidden_layer(model, s, number(model.moe.ffn_hidden_size)) + s.element * s.tokens * s.h));
}

/// Gradients of queries, keys and values; without flash attention, also of the scores before and after the softmax.
double attention_gradients(const Model& model, const Trainer& trainer, const Sizes& s) {
  const AttentionWidths width = attention_widths(model);
  const double scores = trainer.flash_attention ? 0 : 2 * s.heads * s.sequence;
  return s.element * s.tokens * (width.query + width.key + width.value + scores) / s.t;
}

}  // namespace

AttentionWidths attention_widths(const Model& model) {
  if (!model.latent_attention) {
    const double query = number(model.query_width()), key = number(model.key_width());
    return {query, key, key, query, 0};
  }
  const LatentAttention& latent = *model.latent_attention;
  const double heads = number(model.num_attention_heads);
  const double key = heads * number(latent.qk_nope_head_dim + latent.qk_rope_head_dim);
  const double value = heads * number(latent.v_head_dim);
  return {key, key, value, value, number(2 * (latent.q_lora_rank + latent.kv_lora_rank) + latent.qk_rope_head_dim)};
}

double dispatched_tokens(const Model& model, const Layout& layout) {
  return number(model.moe.k) * (layout.expert > 1 ? model.moe.token_imbalance_hypothesis : 1);
}

LayerActivations layer_activations(const Model& model, const Trainer& trainer, const Layout& layout) {
  const Sizes s(model, trainer, layout);
  LayerActivations layer;
  layer.attention_core = attention_core(model, trainer, s);
  layer.attention = attention(model, s) + layer.attention_core;
  layer.mlp_norm = s.element * s.tokens * s.h / s.u;
  layer.mlp = mlp(model, s);
  if (model.has_experts()) {
    layer.moe = moe(model, layout, s, s.t);
    layer.practice_moe = moe(model, layout, s, 1);
  }
  return layer;
}

KeptActivations kept_activations(const Model& model, const Trainer& trainer, const Layout& layout,
                                 const LayerActivations& layer) {
  // A layer that is computed again keeps its input (arXiv 2205.05198, section 5).
  if (layout.recompute == Recompute::full) {
    const Sizes s(model, trainer, layout);
    return {.attention = s.element * s.tokens * s.h / s.u};
  }
  const double again = layout.recompute == Recompute::selective ? layer.attention_core : 0;
  return {layer.attention - again + layer.mlp_norm, layer.mlp, layer.moe, layer.practice_moe};
}

double embedding_activations(const Model& model, const Layout& layout) {
  return hidden_mask(model, Sizes(model, Trainer{}, layout));
}

double head_activations(const Model& model, const Trainer& trainer, const Layout& layout) {
  const Sizes s(model, trainer, layout);
  return 2 * s.element * s.tokens * s.h / s.u;
}

double loss_activations(const Model& model, const Trainer& trainer, const Layout& layout) {
  const Sizes s(model, trainer, layout);
  // An image has one prediction, and its head is not cut.
  const double logits = model.vision ? number(layout.micro_batch) * number(model.vision->num_classes)
                                     : s.tokens * number(model.vocab_size) / s.t;
  const bool converted = trainer.loss_in_float32 && trainer.param_dtype == DataType::float16;
  return logits * (converted ? s.element + 2 * kFloat32 : 2 * s.element);
}

double working_set(const Model& model, const Trainer& trainer, const Layout& layout, const LayerActivations& layer,
                   bool expert_layer) {
  const Sizes s(model, trainer, layout);
  const double through = 2 * s.element * s.tokens * s.h / s.u;
  const double inside = std::max(mlp_gradients(model, layout, s, expert_layer), attention_gradients(model, trainer, s));
  double again = 0;
  if (layout.recompute == Recompute::full)
    again = layer.attention + layer.mlp_norm + (expert_layer ? layer.practice_moe : layer.mlp);
  else if (layout.recompute == Recompute::selective)
    again = layer.attention_core;
  return through + inside + again;
}

double communication_buffers(const Model& model, const Trainer& trainer, const Layout& layout) {
  const Sizes s(model, trainer, layout);
  const double hidden = s.element * s.tokens * s.h;
  double buffers = 0;
  // Gathered input of a layer's projections, or the sum behind them (arXiv 2205.05198, figure 5): one each way.
  if (layout.tensor > 1) buffers += 2 * hidden;
  // What comes from the next and from the previous stage.
  if (layout.pipeline > 1) buffers += 2 * hidden / s.u;
  // Keys and values of another rank come while those before are computed with (arXiv 2310.01889).
  if (layout.context > 1) {
    const AttentionWidths width = attention_widths(model);
    buffers += 2 * s.element * s.tokens * (width.key + width.value) / s.t;
  }
  // Tokens in the order in which they are sent, beside those that have come.
  if (layout.expert > 1) buffers += number(model.moe.k) * hidden / s.u;
  return buffers;
}

}  // namespace lshdp::explore
