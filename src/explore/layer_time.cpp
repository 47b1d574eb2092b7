// Times of layers: a list of kernels each, and the collectives between them.
#include "lshdp/explore/layer_time.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "lshdp/explore/collectives.h"
#include "sizes.h"

namespace lshdp::explore {
namespace {

constexpr double kFloat32 = 4;
/// A dropout's mask has a byte an element (arXiv 2205.05198, section 4.1).
constexpr double kMask = 1;

/// Adds up kernels of a part of the model, forward and backward.
class Kernels {
 public:
  Kernels(const Trainer& trainer, const Hardware& hardware)
      : hardware_(hardware),
        peak_(hardware.device.peak_flops(trainer.param_dtype)),
        bandwidth_(hardware.device.memory_bandwidth * hardware.efficiency.memory),
        element_(bytes_of(trainer.param_dtype)),
        gradient_(bytes_of(trainer.grad_dtype)) {}

  /// `copies` products of an m x k input and k x n weights. Backward adds to gradients of weights, which it reads and
  /// writes.
  void product(double m, double n, double k, double copies = 1) {
    const double flops = 2 * m * n * k / (peak_ * matmul_share(hardware_, m, n, k));
    const double bytes = element_ * (m * k + k * n + m * n);
    const double weight_bytes = element_ * (m * k + m * n) + 2 * gradient_ * k * n;
    forward_ += copies * std::max(flops, bytes / bandwidth_);
    backward_ += copies * (std::max(flops, bytes / bandwidth_) + std::max(flops, weight_bytes / bandwidth_));
    count(1, 2);
  }
  /// A batch of products of two activations, whose widths nobody pads.
  void batched_product(double m, double n, double k, double copies) {
    const double peak = fills_tensor_cores(n) && fills_tensor_cores(k) ? peak_ : peak_without_tensor_cores();
    const double flops = 2 * m * n * k / (peak * matmul_share(hardware_, m, n, k));
    const double bytes = element_ * (m * k + k * n + m * n);
    forward_ += copies * std::max(flops, bytes / bandwidth_);
    backward_ += 2 * copies * std::max(flops, bytes / bandwidth_);
    count(1, 2);
  }
  void flash_attention(double flops, double bytes) {
    const double rate = peak_ * hardware_.device.attention_share;
    forward_ += std::max(flops / rate, bytes / bandwidth_);
    backward_ += std::max(2.5 * flops / rate, 2 * bytes / bandwidth_);
    count(1, 3);
  }
  /// Elements of activations that are read and written.
  void traffic(double forward_elements, double backward_elements) {
    bytes(element_ * forward_elements, element_ * backward_elements);
  }
  void bytes(double forward, double backward) {
    forward_ += forward / bandwidth_;
    backward_ += backward / bandwidth_;
    count(1, 1);
  }

  double forward() const { return std::max(forward_, forward_kernels_ * hardware_.efficiency.launch_seconds); }
  double backward() const { return std::max(backward_, backward_kernels_ * hardware_.efficiency.launch_seconds); }

 private:
  /// Rows of 16-bit matrices must be multiples of 16 bytes (NVIDIA, "Matrix Multiplication Background User's Guide",
  /// "Requirements to Use Tensor Cores").
  bool fills_tensor_cores(double width) const {
    constexpr double kBytes = 16;
    return element_ >= kFloat32 || std::fmod(width * element_, kBytes) == 0;
  }
  /// Those of float32, as far as the device's are known.
  double peak_without_tensor_cores() const {
    const double float32 = hardware_.device.float32_flops;
    return float32 > 0 ? std::min(peak_, float32) : peak_;
  }
  void count(double forward, double backward) {
    forward_kernels_ += forward;
    backward_kernels_ += backward;
  }

  const Hardware& hardware_;
  double peak_, bandwidth_, element_, gradient_;
  double forward_ = 0, backward_ = 0;
  double forward_kernels_ = 0, backward_kernels_ = 0;
};

/// Computed forward and backward times are multiplied by these.
struct Scale {
  double forward = 1, backward = 1;
};

class MicroBatch {
 public:
  MicroBatch(const Model& model, const Trainer& trainer, const Hardware& hardware, const Layout& layout)
      : model_(model), trainer_(trainer), hardware_(hardware), layout_(layout), s_(model, trainer, layout) {}

  PassTimes layer(bool expert_layer, const Scale& scale = {}) const {
    Kernels core(trainer_, hardware_), rest(trainer_, hardware_);
    attention_core(core);
    attention(rest);
    expert_layer ? experts(rest) : mlp(rest, number(model_.ffn_hidden_size));
    PassTimes times;
    times.forward.compute = scale.forward * (core.forward() + rest.forward());
    times.backward.compute = scale.backward * (core.backward() + rest.backward());
    const double sums = tensor_sums(expert_layer) + (expert_layer ? to_experts() : 0);
    times.forward.exchange = sums + ring(1, core.forward());
    times.backward.exchange = sums + ring(2, core.backward());
    if (layout_.recompute == Recompute::full) times.backward += times.forward;
    if (layout_.recompute == Recompute::selective) times.backward.compute += scale.forward * core.forward();
    return times;
  }

  /// Rows of the table are read and written, and their gradients added to it.
  PassTimes embedding() const {
    Kernels kernels(trainer_, hardware_);
    if (model_.vision) {
      const Vision& vision = *model_.vision;
      kernels.product(s_.tokens, s_.h, number(vision.num_channels * vision.patch_size * vision.patch_size));
    } else {
      kernels.traffic(2 * s_.tokens * s_.h / s_.u, 3 * s_.tokens * s_.h / s_.u);
    }
    // The vocabulary is cut over TP: forward adds up what each rank finds (arXiv 1909.08053, section 3).
    return {{kernels.forward(), layout_.sequence_parallel ? gather() : sum()}, {kernels.backward(), 0}};
  }

  /// The last norm, the head, and a loss whose softmax reads and writes float32.
  PassTimes head() const {
    Kernels kernels(trainer_, hardware_);
    norm(kernels);
    if (model_.vision) {
      kernels.product(number(layout_.micro_batch), number(model_.vision->num_classes), s_.h);
      return {{kernels.forward(), 0}, {kernels.backward(), 0}};
    }
    const double logits = s_.tokens * number(model_.vocab_size) / s_.t;
    kernels.product(s_.tokens, number(model_.vocab_size) / s_.t, s_.h);
    const double wide = trainer_.loss_in_float32 ? kFloat32 : s_.element;
    kernels.bytes(logits * (s_.element + 3 * wide), logits * (2 * wide + s_.element));
    if (layout_.sequence_parallel) return {{kernels.forward(), gather()}, {kernels.backward(), gather()}};
    return {{kernels.forward(), 0}, {kernels.backward(), sum()}};
  }

  double message_bytes() const { return hidden_bytes() / s_.t; }
  double message_gather() const { return layout_.sequence_parallel ? 0 : gather(); }

 private:
  double hidden_bytes() const { return s_.element * s_.tokens * s_.h; }
  Group tensor_group() const { return {layout_.tensor, 1}; }
  double sum() const { return all_reduce(hardware_, tensor_group()).of(hidden_bytes()); }
  double gather() const { return all_gather(hardware_, tensor_group()).of(hidden_bytes()); }

  void norm(Kernels& kernels) const { kernels.traffic(2 * s_.tokens * s_.h / s_.u, 3 * s_.tokens * s_.h / s_.u); }
  /// A sum with the layer's input, with dropout's mask.
  void residual(Kernels& kernels) const {
    const double elements = s_.tokens * s_.h / s_.u;
    const double mask = model_.hidden_dropout > 0 ? kMask * elements : 0;
    kernels.bytes(s_.element * 3 * elements + mask, s_.element * 3 * elements + mask);
  }

  void attention(Kernels& kernels) const {
    const AttentionWidths width = attention_widths(model_);
    norm(kernels);
    if (model_.latent_attention) {
      latent_projections(kernels, *model_.latent_attention);
    } else {
      kernels.product(s_.tokens, (width.query + width.key + width.value) / s_.t, s_.h);
    }
    const double turned = s_.tokens * (width.query + width.key) / s_.t;
    if (model_.position_embedding == PositionEmbedding::rope) kernels.traffic(2 * turned, 2 * turned);
    if (model_.qk_norm) kernels.traffic(2 * turned, 3 * turned);
    kernels.product(s_.tokens, s_.h, width.output / s_.t);
    residual(kernels);
  }

  /// Down to the compressed vectors, whole on each device, and up to this device's heads (arXiv 2405.04434,
  /// section 2.1).
  void latent_projections(Kernels& kernels, const LatentAttention& latent) const {
    const double heads = s_.heads / s_.t, rope = number(latent.qk_rope_head_dim),
                 nope = number(latent.qk_nope_head_dim);
    const double query_rank = number(latent.q_lora_rank), key_rank = number(latent.kv_lora_rank);
    if (latent.q_lora_rank > 0) kernels.product(s_.tokens, query_rank, s_.h);
    kernels.product(s_.tokens, heads * (nope + rope), latent.q_lora_rank > 0 ? query_rank : s_.h);
    kernels.product(s_.tokens, key_rank + rope, s_.h);
    kernels.product(s_.tokens, heads * (nope + number(latent.v_head_dim)), key_rank);
    kernels.traffic(2 * s_.tokens * (query_rank + key_rank), 3 * s_.tokens * (query_rank + key_rank));
  }

  void attention_core(Kernels& kernels) const {
    const AttentionWidths width = attention_widths(model_);
    const double tokens = s_.tokens;
    if (trainer_.flash_attention) {
      const double seen = model_.vision ? 1 : 0.5;
      const double flops = seen * 2 * tokens * s_.sequence * (width.query + width.output) / s_.t;
      const double elements = tokens * (width.query + width.key + width.value + width.output) / s_.t;
      kernels.flash_attention(flops, s_.element * elements);
      return;
    }
    const double heads = s_.heads / s_.t * number(layout_.micro_batch);
    const double rows = s_.sequence / number(layout_.context), scores = heads * rows * s_.sequence;
    kernels.batched_product(rows, s_.sequence, width.query / s_.heads, heads);
    kernels.traffic(2 * scores, 3 * scores);  // softmax
    if (model_.attention_dropout > 0)
      kernels.bytes(scores * (2 * s_.element + kMask), scores * (2 * s_.element + kMask));
    kernels.batched_product(rows, width.output / s_.heads, s_.sequence, heads);
  }

  void activation(Kernels& kernels, double elements) const {
    const bool gated = model_.activation == Activation::swiglu;
    kernels.traffic((gated ? 3 : 2) * elements, (gated ? 5 : 3) * elements);
  }

  void mlp(Kernels& kernels, double ffn) const {
    norm(kernels);
    hidden_layer(kernels, s_.tokens, ffn, 1);
    residual(kernels);
  }
  /// `copies` MLPs on `tokens` tokens each; the matrices into the hidden layer are one.
  void hidden_layer(Kernels& kernels, double tokens, double ffn, double copies) const {
    const double into = number(model_.mlp_matrices() - 1);
    kernels.product(tokens, into * ffn / s_.t, s_.h, copies);
    activation(kernels, copies * tokens * ffn / s_.t);
    kernels.product(tokens, s_.h, ffn / s_.t, copies);
  }

  /// Tokens are put in the order of their experts and back: twice read and written. Experts are one grouped product.
  void experts(Kernels& kernels) const {
    const Experts& moe = model_.moe;
    norm(kernels);
    kernels.product(s_.tokens / s_.u, number(moe.num_experts), s_.h);
    const double arrived = dispatched_tokens(model_, layout_) * s_.tokens;
    const double local = number(moe.num_experts / layout_.expert);
    kernels.traffic(4 * arrived * s_.h / s_.u, 4 * arrived * s_.h / s_.u);
    hidden_layer(kernels, arrived / local, number(moe.ffn_hidden_size), local);
    if (moe.num_shared_experts > 0)
      hidden_layer(kernels, s_.tokens, number(moe.num_shared_experts * moe.ffn_hidden_size), 1);
    residual(kernels);
  }

  /// Sums behind attention and MLP. Behind experts of other ranks the tokens are still apart.
  double tensor_sums(bool expert_layer) const {
    if (!expert_layer || layout_.expert == 1) return 2 * sum();
    const double apart = dispatched_tokens(model_, layout_) * hidden_bytes();
    return sum() + all_reduce(hardware_, tensor_group()).of(apart);
  }
  /// To the experts and back. EP lies within DP, next to CP.
  double to_experts() const {
    const Transfer transfer = all_to_all(hardware_, {layout_.expert, layout_.tensor * layout_.context});
    return 2 * transfer.of(dispatched_tokens(model_, layout_) * hidden_bytes() / s_.u);
  }
  /// What of `times` rounds of keys and values the attention's core does not hide.
  double ring(double times, double core) const {
    if (layout_.context == 1) return 0;
    const AttentionWidths width = attention_widths(model_);
    const double bytes = times * s_.element * s_.tokens * (width.key + width.value) / s_.t;
    const double steps = number(layout_.context - 1);
    const double step = send(hardware_, (layout_.context - 1) * layout_.tensor).of(bytes);
    return steps * std::max(0.0, step - core / number(layout_.context));
  }

  const Model& model_;
  const Trainer& trainer_;
  const Hardware& hardware_;
  const Layout& layout_;
  Sizes s_;
};

}  // namespace

namespace {

/// What a part was measured to take over what is computed for it.
Scale scale_of(const LayerTimes::Passes& measured, const PassTimes& computed) {
  const auto ratio = [](double seconds, double of) { return of > 0 ? seconds / of : 1; };
  return {ratio(measured.forward, computed.forward.compute), ratio(measured.backward, computed.backward.compute)};
}

PassTimes scaled(PassTimes times, const Scale& scale) {
  times.forward.compute *= scale.forward;
  times.backward.compute *= scale.backward;
  return times;
}

}  // namespace

LayerTimes ProfiledLayers::at(double micro_batch) const {
  const auto beyond = std::ranges::lower_bound(times, micro_batch, {}, &LayerTimes::micro_batch);
  const LayerTimes &low = beyond == times.begin() ? times.front() : *std::prev(beyond),
                   &high = beyond == times.end() ? times.back() : *beyond;
  const bool outside = beyond == times.begin() || beyond == times.end();
  // Outside, one of them in proportion; inside, each by how near it is.
  const double share = outside ? 0 : (micro_batch - low.micro_batch) / (high.micro_batch - low.micro_batch);
  const double of_low = outside ? micro_batch / low.micro_batch : 1 - share;
  const auto mix = [&](const LayerTimes::Passes& one, const LayerTimes::Passes& other) {
    return LayerTimes::Passes{of_low * one.forward + share * other.forward,
                              of_low * one.backward + share * other.backward};
  };
  return {micro_batch, mix(low.embedding, high.embedding), mix(low.layer, high.layer), mix(low.head, high.head)};
}

double matmul_share(const Hardware& hardware, double m, double n, double k) {
  const double half = hardware.efficiency.half_size;
  return hardware.device.matmul_share / ((1 + half / m) * (1 + half / n) * (1 + half / k));
}

MicroBatchTimes micro_batch_times(const Model& model, const Trainer& trainer, const Hardware& hardware,
                                  const Layout& layout) {
  const MicroBatch micro_batch(model, trainer, hardware, layout);
  MicroBatchTimes times;
  times.dense_layer = micro_batch.layer(false);
  if (model.has_experts()) times.expert_layer = micro_batch.layer(true);
  times.embedding = micro_batch.embedding();
  times.head = micro_batch.head();
  if (const ProfiledLayers& profiled = hardware.device.profiled_layers; !profiled.times.empty()) {
    const LayerTimes measured = profiled.at(number(layout.micro_batch));
    const Layout alone{.micro_batch = layout.micro_batch};
    const MicroBatch whole(model, trainer, hardware, alone);
    times.dense_layer = micro_batch.layer(false, scale_of(measured.layer, whole.layer(false)));
    times.embedding = scaled(times.embedding, scale_of(measured.embedding, whole.embedding()));
    times.head = scaled(times.head, scale_of(measured.head, whole.head()));
  }
  times.message_bytes = micro_batch.message_bytes();
  times.message_gather = micro_batch.message_gather();
  return times;
}

}  // namespace lshdp::explore
