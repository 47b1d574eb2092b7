// Outputs, losses and gradients equal those of torchvision, Hugging Face and torch.nn on weights these libraries saved.
#include <gtest/gtest.h>

#include "lshdp/model/safetensors.h"
#include "model/run_model.h"

namespace lshdp::model {
namespace {

using test::logits_of;
using test::relative_difference;

class Reference : public testing::TestWithParam<const char*> {
 protected:
  std::string file(const std::string& suffix) const { return LSHDP_TEST_DATA "/" + std::string(GetParam()) + suffix; }
  Model model = make_model(file(".json"));
  Values weights = read_weights(model, file(".weights.safetensors"));
  NamedTensors expected = read_safetensors(file(".reference.safetensors"));

  at::Tensor input(at::ScalarType type) const {
    const at::Tensor& batch = expected.at("input");
    return batch.is_floating_point() ? batch.to(type) : batch;
  }
};

// Rounding of float64 is 1e-16; sums of some hundred terms in another order leave at most some 1e-14. 1e-11 is far
// above that and far below what any other formula gives (gelu against its tanh form: 1e-4; epsilon 1e-5 against 1e-6:
// 1e-6).
constexpr double kDoubleTolerance = 1e-11;

TEST_P(Reference, LogitsAgreeInDoublePrecision) {
  const Values values = test::leaves(weights, at::kDouble);
  EXPECT_LT(relative_difference(logits_of(model, values, input(at::kDouble)), expected.at("logits")), kDoubleTolerance);
}

TEST_P(Reference, LossesAgreeWithAndWithoutLabelSmoothing) {
  const at::Tensor logits = logits_of(model, test::leaves(weights, at::kDouble), input(at::kDouble));
  EXPECT_LT(relative_difference(summed_cross_entropy(logits, expected.at("target"), 0), expected.at("loss")),
            kDoubleTolerance);
  EXPECT_LT(relative_difference(summed_cross_entropy(logits, expected.at("target"), 0.1), expected.at("loss_smoothed")),
            kDoubleTolerance);
}

TEST_P(Reference, GradientsOfAllParametersAgree) {
  const Values values = test::leaves(weights, at::kDouble);
  const at::Tensor loss = summed_cross_entropy(logits_of(model, values, input(at::kDouble)), expected.at("target"), 0);
  const std::vector<at::Tensor> gradients = test::gradients_of(loss, values);
  double total = 0;
  for (const auto& [name, tensor] : expected) {
    if (name.starts_with("grad.")) total += tensor.pow(2).sum().item<double>();
  }
  std::size_t k = 0;
  for (const auto& block : model.blocks) {
    for (const Parameter& parameter : block->parameters()) {
      const at::Tensor& wanted = expected.at("grad." + parameter.name);
      ASSERT_EQ(gradients[k].sizes(), wanted.sizes());
      // Against the whole gradient: that of attention's key bias is zero but for rounding.
      EXPECT_LT((gradients[k++] - wanted).norm().item<double>() / std::sqrt(total), kDoubleTolerance) << parameter.name;
    }
  }
  EXPECT_EQ(k + 5, expected.size());  // no gradient of the reference is left out
}

TEST_P(Reference, SinglePrecisionAgreesToItsRounding) {
  const Values values = test::leaves(weights, at::kFloat);
  const at::Tensor logits = logits_of(model, values, input(at::kFloat));
  EXPECT_EQ(logits.scalar_type(), at::kFloat);
  EXPECT_LT(relative_difference(logits, expected.at("logits")), 1e-5);
}

TEST_P(Reference, Bfloat16AgreesToItsRoundingAndItsLossIsSinglePrecision) {
  const Values values = test::leaves(weights, at::kBFloat16);
  const at::Tensor logits = logits_of(model, values, input(at::kBFloat16));
  EXPECT_EQ(logits.scalar_type(), at::kBFloat16);
  // One rounding of bfloat16 is 4e-3; a few dozen follow each other here.
  EXPECT_LT(relative_difference(logits, expected.at("logits")), 0.05);
  const at::Tensor loss = summed_cross_entropy(logits, expected.at("target"), 0);
  EXPECT_EQ(loss.scalar_type(), at::kFloat);
  for (const at::Tensor& gradient : test::gradients_of(loss, values)) {
    EXPECT_EQ(gradient.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(gradient.isfinite().all().item<bool>());
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Reference,
                         testing::Values("vit", "gpt2", "mlp", "llama", "llama_wide", "llama3", "qwen2", "mistral",
                                         "traced_gpt", "traced_conv"),
                         [](const auto& made) { return std::string(made.param); });

}  // namespace
}  // namespace lshdp::model
