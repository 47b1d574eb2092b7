// Llama, Qwen2 and Mistral with the names, orientations, numbers and first values of Hugging Face's LlamaForCausalLM,
// Qwen2ForCausalLM and MistralForCausalLM.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "architectures.h"
#include "layers.h"
#include "linear.h"
#include "rotary.h"
#include "text_model.h"

namespace lshdp::model {
namespace {

constexpr const char *kEmbedding = "model.embed_tokens.weight", *kHead = "lm_head.weight";
// So that no product of sizes leaves 63 bits: heads times their width is the width of a matrix.
constexpr std::int64_t kMostHeads = 4096, kWidestHead = 4096;

struct Sizes {
  std::int64_t layers, hidden, inner;
  std::int64_t heads, key_heads, head;  // head: its width
  double epsilon, deviation;
  bool query_bias, output_bias, mlp_bias, tied;  // query_bias: of queries, keys and values
  Rotary rotary;
  InputSpec input;
};

std::string prefix(std::int64_t layer) { return "model.layers." + std::to_string(layer) + "."; }

/// [.., hidden] over the root of its mean square, in at least float32.
at::Tensor rms_norm(const at::Tensor& input, const at::Tensor& weight, double epsilon) {
  return at::rms_norm(input, weight.sizes(), weight, epsilon);
}

/// int64 [B, T], T <= max_position_embeddings -> [B, T, hidden].
class Embedding final : public ListedBlock {
 public:
  explicit Embedding(const Sizes& s)
      : ListedBlock("embedding", {parameter(kEmbedding, {s.input.vocabulary, s.hidden}, normal(s.deviation))}),
        positions_(s.input.positions) {}

  std::optional<std::size_t> looked_up() const override { return 0; }

 private:
  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    require_positions(input.size(1), positions_);
    return at::embedding(p[0], input);
  }
  at::Tensor run_next(const at::Tensor& input, const Tensors& p, BlockCache& cache) const override {
    cache.positions += input.size(1);
    require_positions(cache.positions, positions_);
    return at::embedding(p[0], input);
  }

  std::int64_t positions_;
};

/// First half of a layer: [B, T, hidden] -> the same: x + attention(norm(x)).
class Attention final : public ListedBlock {
 public:
  Attention(const Sizes& s, std::int64_t layer)
      : ListedBlock("attention " + std::to_string(layer), make_parameters(s, prefix(layer))),
        heads_(s.heads),
        key_heads_(s.key_heads),
        query_bias_(s.query_bias),
        output_bias_(s.output_bias),
        epsilon_(s.epsilon),
        rotation_(s.rotary, s.head) {}

 private:
  // Of the biases only those that the model has; the output has one only where the others do.
  enum : std::size_t { norm_w, query_w, key_w, value_w, output_w, query_b, key_b, value_b, output_b };

  static std::vector<Parameter> make_parameters(const Sizes& s, const std::string& name) {
    const std::string layer = name + "self_attn.";
    const std::int64_t queries = s.heads * s.head, keys = s.key_heads * s.head;
    const Init init = normal(s.deviation);
    std::vector<Parameter> list = {parameter(name + "input_layernorm.weight", {s.hidden}, kOnes),
                                   linear_weight(layer + "q_proj.weight", {queries, s.hidden}, init),
                                   linear_weight(layer + "k_proj.weight", {keys, s.hidden}, init),
                                   linear_weight(layer + "v_proj.weight", {keys, s.hidden}, init),
                                   linear_weight(layer + "o_proj.weight", {s.hidden, queries}, init)};
    if (s.query_bias) {
      list.push_back(parameter(layer + "q_proj.bias", {queries}, kZeros));
      list.push_back(parameter(layer + "k_proj.bias", {keys}, kZeros));
      list.push_back(parameter(layer + "v_proj.bias", {keys}, kZeros));
    }
    if (s.output_bias) list.push_back(parameter(layer + "o_proj.bias", {s.hidden}, kZeros));
    return list;
  }

  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    const at::Tensor& positions = p.documents().positions;
    const Rotation::Angles angles =
        positions.defined() ? rotation_.angles(positions, input) : rotation_.angles(0, input.size(1), input);
    return around(input, p, causal_attention(heads_of(angles, input, p), p.documents()));
  }
  at::Tensor run_next(const at::Tensor& input, const Tensors& p, BlockCache& cache) const override {
    const Rotation::Angles angles = rotation_.angles(cache.positions, input.size(1), input);
    return around(input, p, cached_attention(heads_of(angles, input, p), cache));
  }

  /// Keys are turned before they are kept: their positions stay.
  Heads heads_of(const Rotation::Angles& angles, const at::Tensor& input, const Tensors& p) const {
    const at::Tensor normed = rms_norm(input, p[norm_w], epsilon_);
    const auto product = [&](std::size_t weight, std::size_t bias, std::int64_t heads) {
      const at::Tensor made = p.linear(weight, normed, query_bias_ ? std::optional(p[bias]) : std::nullopt);
      return made.view({input.size(0), input.size(1), heads, -1});
    };
    return {Rotation::turned(product(query_w, query_b, heads_), angles).transpose(1, 2),
            Rotation::turned(product(key_w, key_b, key_heads_), angles).transpose(1, 2),
            product(value_w, value_b, key_heads_).transpose(1, 2)};
  }
  at::Tensor around(const at::Tensor& input, const Tensors& p, const at::Tensor& mixed) const {
    return p.linear(output_w, mixed, output_bias_ ? std::optional(p[output_b]) : std::nullopt) + input;
  }

  std::int64_t heads_, key_heads_;
  bool query_bias_, output_bias_;
  double epsilon_;
  Rotation rotation_;
};

/// Second half of a layer: [B, T, hidden] -> the same: x + mlp(norm(x)), with a gate (SwiGLU).
class Mlp final : public ListedBlock {
 public:
  Mlp(const Sizes& s, std::int64_t layer)
      : ListedBlock("mlp " + std::to_string(layer), make_parameters(s, prefix(layer))),
        bias_(s.mlp_bias),
        epsilon_(s.epsilon) {}

 private:
  enum : std::size_t { norm_w, gate_w, up_w, down_w, gate_b, up_b, down_b };

  static std::vector<Parameter> make_parameters(const Sizes& s, const std::string& name) {
    const std::string layer = name + "mlp.";
    const Init init = normal(s.deviation);
    std::vector<Parameter> list = {parameter(name + "post_attention_layernorm.weight", {s.hidden}, kOnes),
                                   linear_weight(layer + "gate_proj.weight", {s.inner, s.hidden}, init),
                                   linear_weight(layer + "up_proj.weight", {s.inner, s.hidden}, init),
                                   linear_weight(layer + "down_proj.weight", {s.hidden, s.inner}, init)};
    if (s.mlp_bias) {
      list.push_back(parameter(layer + "gate_proj.bias", {s.inner}, kZeros));
      list.push_back(parameter(layer + "up_proj.bias", {s.inner}, kZeros));
      list.push_back(parameter(layer + "down_proj.bias", {s.hidden}, kZeros));
    }
    return list;
  }

  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    const auto product = [&](std::size_t weight, std::size_t bias, const at::Tensor& x) {
      return p.linear(weight, x, bias_ ? std::optional(p[bias]) : std::nullopt);
    };
    const at::Tensor normed = rms_norm(input, p[norm_w], epsilon_);
    const at::Tensor inner = at::silu(product(gate_w, gate_b, normed)) * product(up_w, up_b, normed);
    return input + product(down_w, down_b, inner);
  }
  at::Tensor run_next(const at::Tensor& input, const Tensors& p, BlockCache&) const override {
    return run(input, p);  // each position by itself
  }

  bool bias_;
  double epsilon_;
};

std::vector<Parameter> head_parameters(const Sizes& s) {
  std::vector<Parameter> list = {parameter("model.norm.weight", {s.hidden}, kOnes)};
  if (!s.tied) list.push_back(linear_weight(kHead, {s.input.vocabulary, s.hidden}, normal(s.deviation)));
  return list;
}

/// [B, T, hidden] -> logits [B, T, vocabulary], by a matrix of its own or by the embedding's.
class Head final : public ListedBlock {
 public:
  explicit Head(const Sizes& s)
      : ListedBlock("head", head_parameters(s),
                    s.tied ? std::vector<std::string>{kEmbedding} : std::vector<std::string>{}),
        tied_(s.tied),
        epsilon_(s.epsilon) {}

 private:
  enum : std::size_t { norm_w, head_w };

  at::Tensor run(const at::Tensor& input, const Tensors& p) const override {
    const at::Tensor normed = rms_norm(input, p[norm_w], epsilon_);
    return tied_ ? linear_layer(normed, p[head_w]) : p.linear(head_w, normed);
  }
  at::Tensor run_next(const at::Tensor& input, const Tensors& p, BlockCache&) const override {
    return run(input.narrow(1, input.size(1) - 1, 1), p);  // what follows the last position
  }

  bool tied_;
  double epsilon_;
};

/// Windows are refused where they would hide a position: attention has none. `config`: a config.json, where a missing
/// key stands for what Hugging Face takes then.
void refuse_windows(Description& d, const std::string& family, bool config, const Sizes& s) {
  constexpr std::int64_t default_window = 4096;
  for (const char* key : {"sliding_window", "use_sliding_window", "max_window_layers"}) d.ignore(key);
  const bool windows = family == "mistral" || d.flag_or("use_sliding_window", false);
  const bool absent = !d.contains("sliding_window");
  if (!windows || (absent ? !config : !d.has("sliding_window"))) return;
  const std::int64_t window = d.size_or("sliding_window", default_window);
  const bool layers_have_none = family == "qwen2" && d.size_or("max_window_layers", 28) >= s.layers;
  if (window >= s.input.positions || layers_have_none) return;
  throw_wrong_key(d.source(), "sliding_window",
                  fmt::format("is {}{}, below \"max_position_embeddings\" ({}): windows are not supported; set "
                              "\"max_position_embeddings\" to {}",
                              window, absent ? " where it is left out" : "", s.input.positions, window));
}

/// What a config.json of Hugging Face also holds: settled by value, or about other things than the network.
void accept_config_file(Description& d, const std::string& family) {
  d.allow_only("model_type", family);
  d.allow_only("is_encoder_decoder", false);
  d.allow_only("add_cross_attention", false);
  d.allow_only("rope_interleaved", false);
  d.allow_only("use_mrope", false);  // positions of images, which Qwen 2.5's files say that they have not
  d.allow_only("partial_rotary_factor", 1.0);
  d.allow_only_one_of("pruned_heads", {Json::object(), nullptr});
  d.allow_only_list_of("layer_types", "full_attention");
  d.ignore("pretraining_tp");  // how products were cut, not what they give
  ignore_other_keys(d);
}

void read_heads(Description& d, bool llama, Sizes& s) {
  s.heads = d.size("num_attention_heads", kMostHeads);
  s.key_heads =
      llama ? d.size_or("num_key_value_heads", s.heads, kMostHeads) : d.size("num_key_value_heads", kMostHeads);
  d.require_divides("num_attention_heads", s.heads, "num_key_value_heads", s.key_heads);
  if (!d.has("head_dim")) d.require_divides("hidden_size", s.hidden, "num_attention_heads", s.heads);
  s.head = d.size_or("head_dim", s.hidden / s.heads, kWidestHead);
  if (s.head % 2 != 0)
    throw_wrong_key(d.source(), "head_dim", fmt::format("is {}; it must be even: positions turn pairs", s.head));
}

Sizes read_sizes(Description& d, const std::string& family) {
  const bool llama = family == "llama", config = !d.has("type");
  Sizes s{};
  s.layers = d.size("num_hidden_layers", kMaxLayers);
  s.hidden = d.size("hidden_size");
  s.inner = d.size("intermediate_size");
  read_heads(d, llama, s);
  s.epsilon = d.positive_or("rms_norm_eps", 1e-6);
  s.deviation = d.positive_or("initializer_range", 0.02);
  s.output_bias = llama && d.flag_or("attention_bias", false);
  s.query_bias = family == "qwen2" || s.output_bias;
  s.mlp_bias = llama && d.flag_or("mlp_bias", false);
  s.tied = d.flag_or("tie_word_embeddings", false);
  s.rotary = read_rotary(d);
  s.input = read_text_input(d, d.size("max_position_embeddings"), d.size("vocab_size"));
  d.allow_only_one_of("hidden_act", {"silu", "swish"});
  d.ignore_dropout("attention_dropout");
  if (!llama) refuse_windows(d, family, config, s);
  if (config) accept_config_file(d, family);
  d.refuse_unknown_keys();
  return s;
}

Json description_of(const Sizes& s, const std::string& family) {
  Json json = {{"type", family},
               {"num_hidden_layers", s.layers},
               {"hidden_size", s.hidden},
               {"intermediate_size", s.inner},
               {"num_attention_heads", s.heads},
               {"num_key_value_heads", s.key_heads},
               {"head_dim", s.head},
               {"max_position_embeddings", s.input.positions},
               {"vocab_size", s.input.vocabulary},
               {"rms_norm_eps", s.epsilon},
               {"initializer_range", s.deviation},
               {"tie_word_embeddings", s.tied},
               {"rope_parameters", rotary_parameters(s.rotary)}};
  if (family == "llama") json.update({{"attention_bias", s.output_bias}, {"mlp_bias", s.mlp_bias}});
  describe_context(json, s.input);
  return json;
}

}  // namespace

Model make_llama(Description& description, const std::string& family, const std::string& name) {
  const Sizes s = read_sizes(description, family);
  Model model;
  model.dropout = description.dropped();
  model.keeps_documents_apart = true;
  model.name = name;
  model.description = description_of(s, family);
  model.input = s.input;
  model.blocks.push_back(std::make_unique<Embedding>(s));
  // Two blocks a layer, as in GPT-2.
  for (std::int64_t i = 0; i < s.layers; ++i) {
    model.blocks.push_back(std::make_unique<Attention>(s, i));
    model.blocks.push_back(std::make_unique<Mlp>(s, i));
  }
  model.blocks.push_back(std::make_unique<Head>(s));
  return model;
}

}  // namespace lshdp::model
