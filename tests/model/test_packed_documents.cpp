// Documents that share a sample: logits, losses and gradients are those of each document alone.
#include <gtest/gtest.h>

#include "lshdp/model/lora.h"
#include "lshdp/model/safetensors.h"
#include "model/run_model.h"

namespace lshdp::model {
namespace {

constexpr double kTolerance = 1e-11;  // that of test_references.cpp

at::Tensor logits_of(const Model& model, const Values& values, at::Tensor x, const at::Tensor& positions,
                     at::ScalarType type = at::kDouble) {
  const Pass pass{.documents = documents_of(positions, type)};
  for (std::size_t b = 0; b < model.blocks.size(); ++b)
    x = model.blocks[b]->forward(x, test::parameters_of(model, values, b), pass);
  return x;
}

TEST(Documents, HideOthersAndWhatFollows) {
  const double no = -std::numeric_limits<double>::infinity();
  const Documents documents = documents_of(at::tensor({0, 1, 0, 0, 1}, at::kLong).view({1, 5}), at::kDouble);
  const at::Tensor expected = at::tensor({0.0, no,  no,  no,  no,  //
                                          0.0, 0.0, no,  no,  no,  //
                                          no,  no,  0.0, no,  no,  //
                                          no,  no,  no,  0.0, no,  //
                                          no,  no,  no,  0.0, 0.0},
                                         at::kDouble);
  EXPECT_TRUE(documents.mask.equal(expected.view({1, 1, 5, 5})));
  EXPECT_FALSE(documents_of({}, at::kDouble).mask.defined());
}

/// What Hugging Face computes for each document by itself.
class PackedDocuments : public testing::TestWithParam<const char*> {
 protected:
  std::string file(const std::string& suffix) const { return LSHDP_TEST_DATA "/" + std::string(GetParam()) + suffix; }
  Model model = make_model(file(".json"));
  Values weights = test::leaves(read_weights(model, file(".weights.safetensors")), at::kDouble);
  NamedTensors expected = read_safetensors(file(".documents.safetensors"));
  at::Tensor input = expected.at("input"), positions = expected.at("positions");
};

TEST_P(PackedDocuments, GiveTheLogitsAndTheLossOfEachAlone) {
  EXPECT_TRUE(model.keeps_documents_apart);
  const at::Tensor logits = logits_of(model, weights, input, positions);
  EXPECT_LT(test::relative_difference(logits, expected.at("logits")), kTolerance);
  EXPECT_LT(test::relative_difference(summed_cross_entropy(logits, expected.at("target"), 0), expected.at("loss")),
            kTolerance);
  EXPECT_GT(test::relative_difference(test::logits_of(model, weights, input), expected.at("logits")), 1e-3)
      << "as if a sample were one document";
}

TEST_P(PackedDocuments, GiveTheGradientsOfEachAlone) {
  const at::Tensor loss = summed_cross_entropy(logits_of(model, weights, input, positions), expected.at("target"), 0);
  const std::vector<at::Tensor> gradients = test::gradients_of(loss, weights);
  double total = 0;
  for (const auto& [name, tensor] : expected)
    if (name.starts_with("grad.")) total += tensor.pow(2).sum().item<double>();
  std::size_t k = 0;
  for (const auto& block : model.blocks) {
    for (const Parameter& parameter : block->parameters()) {
      const double off = (gradients[k++] - expected.at("grad." + parameter.name)).norm().item<double>();
      EXPECT_LT(off / std::sqrt(total), kTolerance) << parameter.name;
    }
  }
}

TEST_P(PackedDocuments, AgreeInSinglePrecisionAndNearlyInBfloat16) {
  const c10::InferenceMode no_gradients;
  for (const auto& [type, tolerance] : {std::pair(at::kFloat, 1e-5), std::pair(at::kBFloat16, 0.1)}) {
    const Values rounded = test::leaves(weights, type);
    EXPECT_LT(test::relative_difference(logits_of(model, rounded, input, positions, type), expected.at("logits")),
              tolerance);
  }
}

TEST_P(PackedDocuments, AreKeptApartBesideAdapters) {
  const c10::InferenceMode no_gradients;
  const Model adapted =
      with_lora(make_model(file(".json")), {.rank = 2, .alpha = 4, .targets = {"all-linear"}}, "test");
  Values values = initial_values(adapted, 1);
  for (std::size_t block = 0; block < values.size(); ++block) {
    for (std::size_t i = 0; i < values[block].size(); ++i)
      values[block][i] =
          i < weights[block].size() ? weights[block][i] : at::randn(values[block][i].sizes(), at::kDouble);
  }
  EXPECT_TRUE(adapted.keeps_documents_apart);
  const at::Tensor together = logits_of(adapted, values, input, positions);
  for (std::int64_t sample = 0; sample < input.size(0); ++sample) {
    for (std::int64_t begin = 0, end = 0; begin < input.size(1); begin = end) {
      for (end = begin + 1; end < input.size(1) && positions[sample][end].item<std::int64_t>() != 0;) ++end;
      const at::Tensor document = input.narrow(0, sample, 1).narrow(1, begin, end - begin);
      const at::Tensor alone = logits_of(adapted, values, document, {});
      EXPECT_LT(test::relative_difference(together.narrow(0, sample, 1).narrow(1, begin, end - begin), alone),
                kTolerance);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, PackedDocuments, testing::Values("gpt2", "llama_wide", "llama3"),
                         [](const auto& made) { return std::string(made.param); });

}  // namespace
}  // namespace lshdp::model
