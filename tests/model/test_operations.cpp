// Operations of a sample, against what is counted by hand.
#include <gtest/gtest.h>

#include "lshdp/model/lora.h"
#include "lshdp/model/operations.h"

namespace lshdp::model {
namespace {

double flops_of(const char* description) {
  return flops_per_sample(make_model_from_json(nlohmann::json::parse(description), "m"));
}

TEST(Operations, OfAnMlpAreSixForEachWeight) {
  EXPECT_DOUBLE_EQ(flops_of(R"({"type": "mlp", "input_size": 20, "hidden_sizes": [30], "output_size": 5})"),
                   6.0 * (20 * 30 + 30 * 5));
}

TEST(Operations, OfAGptAreThoseOfItsProductsAndOfAttention) {
  const double layers = 3, width = 32, context = 16, vocabulary = 100;
  const double products = layers * 12 * width * width + width * vocabulary, attention = layers * 2 * context * width;
  EXPECT_DOUBLE_EQ(flops_of(R"({"type": "gpt2", "n_layer": 3, "n_head": 4, "n_embd": 32, "vocab_size": 100,
                                "n_positions": 16})"),
                   6 * context * (products + attention));
}

TEST(Operations, OfAViTCountItsPatchesAndItsClassToken) {
  const double width = 16, hidden = 32, patches = 4, tokens = patches + 1, inputs = 3 * 4 * 4;
  const double layer = tokens * (4 * width * width + 2 * width * hidden + 2 * tokens * width);
  EXPECT_DOUBLE_EQ(flops_of(R"({"type": "vit", "image_size": 8, "patch_size": 4, "channels": 3, "num_layers": 2,
                                "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32, "num_classes": 10})"),
                   6 * (patches * inputs * width + 2 * layer + width * 10));
}

TEST(Operations, OfFrozenWeightsHaveNoGradients) {
  const auto base = [] {
    return make_model_from_json(nlohmann::json::parse(R"({"type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 32,
                                                          "vocab_size": 64, "n_positions": 8})"),
                                "m");
  };
  const double whole = flops_per_sample(base());
  const double adapter = flops_per_sample(with_lora(base(), parse_lora("r=1,targets=c_attn"), "--lora"));
  EXPECT_GT(adapter, whole * 2 / 3);
  EXPECT_LT(adapter, whole * 0.9);
}

TEST(Operations, OfPresetsAreKnown) {
  for (const char* preset : {"mlp", "gpt2"}) {
    const Model model = make_model(preset);
    const double weights = 6.0 * static_cast<double>(model.parameter_count() * model.terms_per_sample());
    EXPECT_GT(flops_per_sample(model), weights / 2) << preset;
  }
}

}  // namespace
}  // namespace lshdp::model
