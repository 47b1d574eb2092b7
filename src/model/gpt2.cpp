// GPT-2 with the names, orientations, numbers and first values of Hugging Face's GPT2LMHeadModel.
#include <array>
#include <cmath>

#include "architectures.h"
#include "layers.h"
#include "linear.h"
#include "text_model.h"

namespace lshdp::model {
namespace {

struct Sizes {
  std::int64_t layers, heads, hidden, inner, positions, vocabulary;
  double epsilon, deviation;
  InputSpec input;
};

/// int64 [B, T], T <= n_positions -> [B, T, hidden].
class Embedding final : public ListedBlock {
 public:
  explicit Embedding(const Sizes& s)
      : ListedBlock("embedding", {parameter("transformer.wte.weight", {s.vocabulary, s.hidden}, normal(s.deviation)),
                                  parameter("transformer.wpe.weight", {s.positions, s.hidden}, normal(s.deviation))}) {}

  std::optional<std::size_t> looked_up() const override { return 0; }

 private:
  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    const at::Tensor& positions = p.documents().positions;
    if (!positions.defined()) return at_position(0, input, p);
    require_positions(input.size(1), p[1].size(0));
    return at::embedding(p[0], input) + at::embedding(p[1], positions);
  }
  at::Tensor run_next(const at::Tensor& input, const Tensors& p, BlockCache& cache) const override {
    const std::int64_t first = cache.positions;
    cache.positions += input.size(1);
    return at_position(first, input, p);
  }

  static at::Tensor at_position(std::int64_t first, const at::Tensor& input, const Tensors& p) {
    const std::int64_t length = input.size(1);
    require_positions(first + length, p[1].size(0));
    return at::embedding(p[0], input) + p[1].narrow(0, first, length);
  }
};

std::string prefix(std::int64_t layer) { return "transformer.h." + std::to_string(layer) + "."; }

/// Each layer adds to the residual twice: the sum over the depth keeps its size.
Init residual(const Sizes& s) { return normal(s.deviation / std::sqrt(2.0 * static_cast<double>(s.layers))); }

/// First half of a layer: [B, T, hidden] -> the same: x + attention(norm(x)).
class Attention final : public ListedBlock {
 public:
  Attention(const Sizes& s, std::int64_t layer)
      : ListedBlock("attention " + std::to_string(layer), make_parameters(s, prefix(layer))),
        heads_(s.heads),
        epsilon_(s.epsilon) {}

 private:
  enum : std::size_t { norm_w, norm_b, attn_w, attn_b, out_w, out_b };

  static std::vector<Parameter> make_parameters(const Sizes& s, const std::string& name) {
    const std::int64_t h = s.hidden;
    std::vector<Parameter> list;
    add_layer_norm(list, name + "ln_1", h);
    list.push_back(conv1d_weight(name + "attn.c_attn.weight", {h, 3 * h}, normal(s.deviation)));
    list.push_back(parameter(name + "attn.c_attn.bias", {3 * h}, kZeros));
    list.push_back(conv1d_weight(name + "attn.c_proj.weight", {h, h}, residual(s)));
    list.push_back(parameter(name + "attn.c_proj.bias", {h}, kZeros));
    return list;
  }

  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    return around(input, p, causal_attention(heads_of(input, p), p.documents()));
  }
  at::Tensor run_next(const at::Tensor& input, const Tensors& p, BlockCache& cache) const override {
    return around(input, p, cached_attention(heads_of(input, p), cache));
  }

  Heads heads_of(const at::Tensor& input, const Tensors& p) const {
    const at::Tensor normed = at::layer_norm(input, {input.size(2)}, p[norm_w], p[norm_b], epsilon_);
    return split_heads(p.linear(attn_w, normed, without_key_bias(p[attn_b])), heads_);
  }
  static at::Tensor around(const at::Tensor& input, const Tensors& p, const at::Tensor& mixed) {
    return p.linear(out_w, mixed, p[out_b]) + input;
  }

  std::int64_t heads_;
  double epsilon_;
};

/// Second half of a layer: [B, T, hidden] -> the same: x + mlp(norm(x)).
class Mlp final : public ListedBlock {
 public:
  Mlp(const Sizes& s, std::int64_t layer)
      : ListedBlock("mlp " + std::to_string(layer), make_parameters(s, prefix(layer))), epsilon_(s.epsilon) {}

 private:
  enum : std::size_t { norm_w, norm_b, up_w, up_b, down_w, down_b };

  static std::vector<Parameter> make_parameters(const Sizes& s, const std::string& name) {
    const std::int64_t h = s.hidden;
    std::vector<Parameter> list;
    add_layer_norm(list, name + "ln_2", h);
    list.push_back(conv1d_weight(name + "mlp.c_fc.weight", {h, s.inner}, normal(s.deviation)));
    list.push_back(parameter(name + "mlp.c_fc.bias", {s.inner}, kZeros));
    list.push_back(conv1d_weight(name + "mlp.c_proj.weight", {s.inner, h}, residual(s)));
    list.push_back(parameter(name + "mlp.c_proj.bias", {h}, kZeros));
    return list;
  }

  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    const at::Tensor normed = at::layer_norm(input, {input.size(2)}, p[norm_w], p[norm_b], epsilon_);
    return input + p.linear(down_w, at::gelu(p.linear(up_w, normed, p[up_b]), "tanh"), p[down_b]);
  }
  at::Tensor run_next(const at::Tensor& input, const Tensors& p, BlockCache&) const override {
    return run(input, p);  // each position by itself
  }

  double epsilon_;
};

std::vector<Parameter> head_parameters(const Sizes& s) {
  std::vector<Parameter> list;
  add_layer_norm(list, "transformer.ln_f", s.hidden);
  return list;
}

/// [B, T, hidden] -> logits [B, T, vocabulary], by the embedding's matrix.
class Head final : public ListedBlock {
 public:
  explicit Head(const Sizes& s)
      : ListedBlock("head", head_parameters(s), {"transformer.wte.weight"}), epsilon_(s.epsilon) {}

 private:
  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    return linear_layer(at::layer_norm(input, {input.size(2)}, p[0], p[1], epsilon_), p[2]);
  }
  at::Tensor run_next(const at::Tensor& input, const Tensors& p, BlockCache&) const override {
    return run(input.narrow(1, input.size(1) - 1, 1), p);  // what follows the last position
  }

  double epsilon_;
};

/// Keys of config.json that are about GPT-2's other heads, or make no difference.
constexpr std::array kOtherKeys{
    "n_ctx",        "reorder_and_upcast_attn", "summary_activation", "summary_first_dropout", "summary_proj_to_labels",
    "summary_type", "summary_use_proj"};

/// What a config.json of Hugging Face also holds: settled by value, or about other things than the network.
void accept_config_file(Description& d) {
  d.allow_only("model_type", "gpt2");
  d.allow_only("tie_word_embeddings", true);
  d.allow_only("scale_attn_weights", true);
  d.allow_only("scale_attn_by_inverse_layer_idx", false);
  d.allow_only("add_cross_attention", false);
  d.allow_only("is_encoder_decoder", false);
  d.allow_only_one_of("pruned_heads", {Json::object(), nullptr});
  for (const char* key : kOtherKeys) d.ignore(key);
  ignore_other_keys(d);
}

Sizes read_sizes(Description& d) {
  Sizes s{};
  s.layers = d.size("n_layer", kMaxLayers);
  s.heads = d.size("n_head");
  s.hidden = d.size("n_embd");
  s.positions = d.size("n_positions");
  s.vocabulary = d.size("vocab_size");
  s.inner = d.size_or("n_inner", 4 * s.hidden);
  s.epsilon = d.positive_or("layer_norm_epsilon", 1e-5);
  s.deviation = d.positive_or("initializer_range", 0.02);
  s.input = read_text_input(d, s.positions, s.vocabulary);
  // All names of x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
  d.allow_only_one_of("activation_function",
                      {"gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"});
  for (const char* dropout : {"resid_pdrop", "embd_pdrop", "attn_pdrop"}) d.ignore_dropout(dropout);
  if (!d.has("type")) accept_config_file(d);
  d.refuse_unknown_keys();
  d.require_divides("n_embd", s.hidden, "n_head", s.heads);
  return s;
}

}  // namespace

Model make_gpt2(Description& description, const std::string& name) {
  const Sizes s = read_sizes(description);
  Model model;
  model.dropout = description.dropped();
  model.keeps_documents_apart = true;
  model.name = name;
  model.description = {{"type", "gpt2"},
                       {"n_layer", s.layers},
                       {"n_head", s.heads},
                       {"n_embd", s.hidden},
                       {"n_inner", s.inner},
                       {"n_positions", s.positions},
                       {"vocab_size", s.vocabulary},
                       {"layer_norm_epsilon", s.epsilon},
                       {"initializer_range", s.deviation}};
  model.input = s.input;
  describe_context(model.description, model.input);
  model.blocks.push_back(std::make_unique<Embedding>(s));
  // Two blocks a layer: what the step's boundary waits for is half as much (docs/design.md, "A step").
  for (std::int64_t i = 0; i < s.layers; ++i) {
    model.blocks.push_back(std::make_unique<Attention>(s, i));
    model.blocks.push_back(std::make_unique<Mlp>(s, i));
  }
  model.blocks.push_back(std::make_unique<Head>(s));
  return model;
}

}  // namespace lshdp::model
