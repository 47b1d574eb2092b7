// Checks of a model's sizes, and which of its layers have experts.
#include "lshdp/explore/model.h"

#include <cmath>
#include <string_view>

#include <fmt/format.h>

#include "lshdp/core/error.h"

namespace lshdp::explore {
namespace {

/// Larger sizes are typing errors, and products of two could leave 64 bits.
constexpr std::int64_t kLargestSize = 1'000'000'000;
constexpr std::int64_t kMaxLayers = 100'000;
constexpr double kMaxParameters = 9.2e18;

[[noreturn]] void refuse(const std::string& source, std::string_view key, std::string_view problem) {
  throw UsageError(fmt::format("{}: {} {}", source, key, problem));
}

void require_size(std::int64_t value, std::string_view key, const std::string& source, std::int64_t least = 1) {
  if (value < least) refuse(source, key, fmt::format("must be at least {}, not {}", least, value));
  if (value > kLargestSize) refuse(source, key, fmt::format("must be at most {}, not {}", kLargestSize, value));
}

void require_share(double value, std::string_view key, const std::string& source) {
  if (!(value >= 0 && value <= 1)) refuse(source, key, fmt::format("must be from 0 to 1, not {:g}", value));
}

void check_attention(const Model& model, const std::string& source) {
  require_size(model.num_attention_heads, "num_attention_heads", source);
  require_size(model.num_key_value_heads, "num_key_value_heads", source);
  require_size(model.head_dim, "head_dim", source);
  if (model.num_attention_heads % model.num_key_value_heads != 0)
    refuse(source, "num_attention_heads",
           fmt::format("({}) must be divisible by num_key_value_heads ({})", model.num_attention_heads,
                       model.num_key_value_heads));
  require_share(model.attention_dropout, "attention_dropout", source);
  require_share(model.hidden_dropout, "hidden_dropout", source);
  if (!model.latent_attention) return;
  const LatentAttention& latent = *model.latent_attention;
  require_size(latent.q_lora_rank, "q_lora_rank", source, 0);
  require_size(latent.kv_lora_rank, "kv_lora_rank", source);
  require_size(latent.qk_nope_head_dim, "qk_nope_head_dim", source);
  require_size(latent.qk_rope_head_dim, "qk_rope_head_dim", source, 0);
  require_size(latent.v_head_dim, "v_head_dim", source);
}

void check_experts(const Experts& moe, std::int64_t layers, const std::string& source) {
  require_size(moe.num_experts, "moe.num_experts", source, 0);
  if (moe.num_experts == 0) return;
  require_size(moe.k, "moe.k", source);
  require_size(moe.ffn_hidden_size, "moe.ffn_hidden_size", source);
  require_size(moe.num_shared_experts, "moe.num_shared_experts", source, 0);
  require_size(moe.first_dense_layers, "moe.first_dense_layers", source, 0);
  if (moe.k > moe.num_experts)
    refuse(source, "moe.k", fmt::format("({}) is more than moe.num_experts ({})", moe.k, moe.num_experts));
  if (moe.first_dense_layers >= layers)
    refuse(source, "moe.first_dense_layers",
           fmt::format("({}) leaves no layer to the experts", moe.first_dense_layers));
  if (!(moe.expert_frequency > 0 && moe.expert_frequency <= 1))
    refuse(source, "moe.expert_frequency",
           fmt::format("is the share of layers with experts: above 0, at most 1, not {:g}", moe.expert_frequency));
  if (!(moe.token_imbalance_hypothesis >= 1 && moe.token_imbalance_hypothesis <= static_cast<double>(moe.num_experts)))
    refuse(source, "moe.token_imbalance_hypothesis",
           fmt::format("is the busiest device's tokens over the mean: from 1 to moe.num_experts, not {:g}",
                       moe.token_imbalance_hypothesis));
}

void check_vision(const Vision& vision, const std::string& source) {
  require_size(vision.image_size, "vision.image_size", source);
  require_size(vision.patch_size, "vision.patch_size", source);
  require_size(vision.num_channels, "vision.num_channels", source);
  require_size(vision.num_classes, "vision.num_classes", source);
  if (vision.image_size % vision.patch_size != 0)
    refuse(source, "vision.image_size",
           fmt::format("({}) must be divisible by vision.patch_size ({})", vision.image_size, vision.patch_size));
}

double patch_parameters(const Vision& vision, double hidden) {
  const auto side = static_cast<double>(vision.patch_size);
  return (static_cast<double>(vision.num_channels) * side * side + 2) * hidden;
}

/// At least as many as the model has: sums of their exact number must stay within 64 bits.
double parameters_at_most(const Model& model) {
  const auto h = static_cast<double>(model.hidden_size);
  double attention = h * 2 * static_cast<double>(model.query_width() + model.key_width());
  if (model.latent_attention) {
    const LatentAttention& latent = *model.latent_attention;
    const auto heads = static_cast<double>(model.num_attention_heads);
    const auto width = static_cast<double>(latent.qk_nope_head_dim + latent.qk_rope_head_dim + latent.v_head_dim);
    attention =
        (h + static_cast<double>(latent.q_lora_rank) + static_cast<double>(latent.kv_lora_rank)) * heads * width * 2 +
        h * static_cast<double>(latent.q_lora_rank + latent.kv_lora_rank + latent.qk_rope_head_dim);
  }
  const double mlp = 3 * (h + 1) * static_cast<double>(model.ffn_hidden_size);
  const double experts = 3 * (h + 1) * static_cast<double>(model.moe.ffn_hidden_size + 1) *
                         static_cast<double>(model.moe.num_experts + model.moe.num_shared_experts);
  const double rows = static_cast<double>(2 * model.vocab_size + model.max_position_embeddings + 1);
  const double head =
      model.vision ? static_cast<double>(model.vision->num_classes) * (h + 1) + patch_parameters(*model.vision, h) : 0;
  return head + static_cast<double>(model.num_layers) * (attention + mlp + experts + 16 * h) + rows * h;
}

}  // namespace

bool Model::is_expert_layer(std::int64_t layer) const {
  if (!has_experts() || layer < moe.first_dense_layers) return false;
  // Where the running share of expert layers passes a whole number; a third may be written as 0.333333333.
  constexpr double kRounding = 1e-6;
  const double before = static_cast<double>(layer - moe.first_dense_layers) * moe.expert_frequency;
  return std::floor(before + moe.expert_frequency + kRounding) > std::floor(before + kRounding);
}

void check(const Model& model, const std::string& source) {
  if (model.vision) check_vision(*model.vision, source);
  require_size(model.num_layers, "num_layers", source);
  if (model.num_layers > kMaxLayers)
    refuse(source, "num_layers", fmt::format("must be at most {}, not {}", kMaxLayers, model.num_layers));
  require_size(model.hidden_size, "hidden_size", source);
  require_size(model.ffn_hidden_size, "ffn_hidden_size", source);
  require_size(model.seq_length, "seq_length", source);
  require_size(model.global_batch_size, "global_batch_size", source);
  require_size(model.vocab_size, "vocab_size", source, model.vision ? 0 : 1);
  require_size(model.max_position_embeddings, "max_position_embeddings", source, 0);
  check_attention(model, source);
  check_experts(model.moe, model.num_layers, source);
  if (model.position_embedding == PositionEmbedding::learned && model.max_position_embeddings < model.seq_length)
    refuse(
        source, "seq_length",
        fmt::format("({}) is more than max_position_embeddings ({})", model.seq_length, model.max_position_embeddings));
  if (const double most = parameters_at_most(model); most > kMaxParameters)
    refuse(source, "the sizes", fmt::format("give about {:.2g} parameters, more than 2^63", most));
}

}  // namespace lshdp::explore
