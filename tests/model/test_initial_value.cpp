// First values: keyed by seed and name, and of the distributions they claim.
#include <gtest/gtest.h>

#include "model/run_model.h"

namespace lshdp::model {
namespace {

constexpr std::int64_t kCount = 200'000;

Parameter of(Init::Kind kind, double scale, const std::string& name = "p") {
  return {name, {kCount}, {kind, scale}, true};
}

double mean_of(const at::Tensor& values) { return values.to(at::kDouble).mean().item<double>(); }
double deviation_of(const at::Tensor& values) { return values.to(at::kDouble).std().item<double>(); }

TEST(InitialValue, DependsOnSeedAndNameAndOnNothingElse) {
  const at::Tensor value = initial_value(of(Init::Kind::normal, 1), 1);
  at::manual_seed(99);
  EXPECT_TRUE(value.equal(initial_value(of(Init::Kind::normal, 1), 1)));
  EXPECT_FALSE(value.equal(initial_value(of(Init::Kind::normal, 1), 2)));
  EXPECT_FALSE(value.equal(initial_value(of(Init::Kind::normal, 1, "q"), 1)));
}

// The formula of initial_value.cpp in Python's integers and statistics.NormalDist().inv_cdf gives the same figures.
TEST(InitialValue, KeepsItsValuesFromVersionToVersion) {
  const at::Tensor normal = initial_value(of(Init::Kind::normal, 0.02), 1),
                   uniform = initial_value(of(Init::Kind::uniform, 0.5), 1);
  EXPECT_FLOAT_EQ(normal[0].item<float>(), 0.0019117154F);
  EXPECT_FLOAT_EQ(normal[kCount - 1].item<float>(), -0.022279961F);
  EXPECT_FLOAT_EQ(uniform[0].item<float>(), 0.038075216F);
}

TEST(InitialValue, NormalHasTheMomentsAndTailsOfTheNormalDistribution) {
  const at::Tensor values = initial_value(of(Init::Kind::normal, 0.02), 3) / 0.02;
  // Three standard errors of 200,000 samples.
  EXPECT_NEAR(mean_of(values), 0, 3 / std::sqrt(kCount));
  EXPECT_NEAR(deviation_of(values), 1, 3 / std::sqrt(2.0 * kCount));
  EXPECT_NEAR(mean_of(values.abs().gt(1)), 0.3173, 0.0032);
  EXPECT_NEAR(mean_of(values.gt(2)), 0.02275, 0.001);
  EXPECT_NEAR(mean_of(values.lt(-3)), 0.00135, 0.00025);
}

TEST(InitialValue, UniformFillsItsBounds) {
  const at::Tensor values = initial_value(of(Init::Kind::uniform, 0.5), 3);
  EXPECT_NEAR(mean_of(values), 0, 3 * 0.5 / std::sqrt(3.0 * kCount));
  EXPECT_NEAR(deviation_of(values), 0.5 / std::sqrt(3.0), 0.001);
  EXPECT_LE(values.abs().max().item<float>(), 0.5F);
  EXPECT_GT(values.max().item<float>(), 0.4999F);
}

TEST(InitialValue, TruncatedNormalStaysWithinTwo) {
  const at::Tensor wide = initial_value(of(Init::Kind::truncated_normal, 1), 3);
  EXPECT_LE(wide.abs().max().item<float>(), 2.0F);
  EXPECT_NEAR(deviation_of(wide), 0.8796, 0.005);  // of a normal cut at two deviations
  EXPECT_NEAR(deviation_of(initial_value(of(Init::Kind::truncated_normal, 0.1), 3)), 0.1, 0.0005);
}

TEST(InitialValue, ZerosAndOnesAreSo) {
  EXPECT_TRUE(initial_value(of(Init::Kind::zeros, 0), 3).eq(0).all().item<bool>());
  EXPECT_TRUE(initial_value(of(Init::Kind::ones, 0), 3).eq(1).all().item<bool>());
}

TEST(InitialValue, NeighboursAndNamesAreNotCorrelated) {
  const at::Tensor a = initial_value(of(Init::Kind::normal, 1), 3),
                   b = initial_value(of(Init::Kind::normal, 1, "q"), 3);
  const double limit = 4 / std::sqrt(kCount);
  EXPECT_LT(std::abs(mean_of(a * b)), limit);
  EXPECT_LT(std::abs(mean_of(a.slice(0, 1) * a.slice(0, 0, kCount - 1))), limit);
}

TEST(InitialValues, FollowTheRulesOfTorchvisionAndHuggingFace) {
  const auto value = [](const Model& model, const std::string& name) {
    for (const auto& block : model.blocks) {
      for (const Parameter& parameter : block->parameters()) {
        if (parameter.name == name) return initial_value(parameter, 1);
      }
    }
    return at::Tensor();
  };
  const Model vit = make_model("vit_b_16"), gpt = make_model("gpt2");
  EXPECT_NEAR(deviation_of(value(vit, "conv_proj.weight")), std::sqrt(1.0 / 768), 2e-4);
  EXPECT_NEAR(deviation_of(value(vit, "encoder.pos_embedding")), 0.02, 2e-4);
  EXPECT_NEAR(value(vit, "encoder.layers.encoder_layer_0.self_attention.in_proj_weight").max().item<double>(),
              std::sqrt(6.0 / (4 * 768)), 1e-5);
  EXPECT_EQ(deviation_of(value(vit, "heads.head.weight")), 0);
  EXPECT_NEAR(deviation_of(value(gpt, "transformer.wpe.weight")), 0.02, 1e-4);
  EXPECT_NEAR(deviation_of(value(gpt, "transformer.h.3.mlp.c_proj.weight")), 0.02 / std::sqrt(24.0), 2e-5);
  EXPECT_NEAR(mean_of(value(gpt, "transformer.h.3.ln_2.weight")), 1, 0);
}

}  // namespace
}  // namespace lshdp::model
