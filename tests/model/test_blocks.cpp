// Blocks as a walker uses them: one at a time, on detached inputs, in any precision.
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "model/run_model.h"

namespace lshdp::model {
namespace {

using test::kSmallGpt;
using test::kSmallLlama;
using test::kSmallMlp;
using test::kSmallQwen;
using test::kSmallVit;

/// Heads begin at zero, and then no gradient passes them.
Values random_values(const Model& model, at::ScalarType type) {
  Values values = initial_values(model, 1);
  for (auto& block : values) {
    for (at::Tensor& value : block) {
      value = value + 0.1 * initial_value({"noise", value.sizes().vec(), {Init::Kind::normal, 1}, true}, 7);
    }
  }
  return test::leaves(values, type);
}

void add_to(at::Tensor& sum, const at::Tensor& term) { sum = sum.defined() ? sum + term : term; }

/// Forward on detached inputs, then backward block by block; a borrowed parameter's gradient joins its owner's.
Values walked_gradients(const Model& model, const Values& values, const SyntheticBatch& batch) {
  std::vector<at::Tensor> inputs, outputs;
  at::Tensor x = batch.input;
  for (std::size_t b = 0; b < model.blocks.size(); ++b) {
    inputs.push_back(b == 0 ? x : x.detach().requires_grad_());
    const std::vector<at::Tensor> parameters = test::parameters_of(model, values, b);
    x = model.blocks[b]->forward(inputs.back(), parameters);
    outputs.push_back(x);
  }
  const at::Tensor logits = x.detach().requires_grad_();
  at::Tensor upstream = torch::autograd::grad({summed_cross_entropy(logits, batch.target, 0)}, {logits})[0];
  Values gradients(model.blocks.size());
  for (std::size_t b = 0; b < values.size(); ++b) gradients[b].resize(values[b].size());
  for (std::size_t b = model.blocks.size(); b-- > 0;) {
    std::vector<at::Tensor> wanted = test::parameters_of(model, values, b);
    if (b > 0) wanted.push_back(inputs[b]);
    const std::vector<at::Tensor> found = torch::autograd::grad({outputs[b]}, wanted, {upstream});
    const std::size_t own = values[b].size();
    for (std::size_t i = 0; i < own; ++i) add_to(gradients[b][i], found[i]);
    const auto& borrowed = model.blocks[b]->borrowed();
    for (std::size_t i = 0; i < borrowed.size(); ++i) {
      const ParameterPlace owner = model.owner_of(borrowed[i]);
      add_to(gradients[owner.block][owner.parameter], found[own + i]);
    }
    if (b > 0) upstream = found.back();
  }
  return gradients;
}

class Blocks : public testing::TestWithParam<nlohmann::json> {
 protected:
  Model model = make_model_from_json(GetParam(), "m");

  SyntheticBatch batch(at::ScalarType type) const {
    SyntheticBatch made = synthetic_batch(model.input, 3, 5);
    if (made.input.is_floating_point()) made.input = made.input.to(type);
    return made;
  }
};

TEST_P(Blocks, WalkingOneByOneGivesTheGradientsOfTheWholeGraphIncludingTheTiedEmbedding) {
  const Values values = random_values(model, at::kDouble);
  const SyntheticBatch made = batch(at::kDouble);
  const at::Tensor loss = summed_cross_entropy(test::logits_of(model, values, made.input), made.target, 0);
  const std::vector<at::Tensor> expected = test::gradients_of(loss, values);
  const std::vector<at::Tensor> actual = test::flat(walked_gradients(model, values, made));
  double total = 0;
  for (const at::Tensor& gradient : expected) total += gradient.pow(2).sum().item<double>();
  ASSERT_GT(total, 0);
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_LT((actual[i] - expected[i]).norm().item<double>(), 1e-13 * std::sqrt(total)) << i;
  }
}

TEST_P(Blocks, GradientsComeInTheOrderTheirParametersAreStored) {
  const Values values = random_values(model, at::kFloat);
  for (const at::Tensor& gradient : test::flat(walked_gradients(model, values, batch(at::kFloat)))) {
    EXPECT_TRUE(gradient.is_contiguous());
  }
}

TEST_P(Blocks, ASampleDoesNotDependOnTheOthersOfItsBatch) {
  const Values values = random_values(model, at::kDouble);
  const SyntheticBatch made = batch(at::kDouble);
  const at::Tensor together = test::logits_of(model, values, made.input);
  for (std::int64_t i = 0; i < 3; ++i) {
    const at::Tensor alone = test::logits_of(model, values, made.input.narrow(0, i, 1));
    EXPECT_TRUE(alone.allclose(together.narrow(0, i, 1), 1e-10, 1e-12));
  }
}

TEST_P(Blocks, RunningForwardAgainGivesTheSameBits) {
  const Values values = random_values(model, at::kFloat);
  const SyntheticBatch made = batch(at::kFloat);
  EXPECT_TRUE(test::logits_of(model, values, made.input).equal(test::logits_of(model, values, made.input)));
}

TEST_P(Blocks, LogitsHaveTheShapeTheInputSpecSays) {
  const Values values = random_values(model, at::kFloat);
  const at::Tensor logits = test::logits_of(model, values, batch(at::kFloat).input);
  const bool tokens = model.input.kind == InputSpec::Kind::tokens;
  const std::vector<std::int64_t> expected =
      tokens ? std::vector<std::int64_t>{3, model.input.context, model.input.vocabulary}
             : std::vector<std::int64_t>{3, model.input.classes};
  EXPECT_EQ(logits.sizes().vec(), expected);
}

TEST_P(Blocks, AWrongNumberOfParametersIsRefused) {
  for (const auto& block : model.blocks)
    EXPECT_THROW(block->forward(batch(at::kFloat).input, {}), std::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(Models, Blocks, testing::Values(kSmallVit, kSmallGpt, kSmallLlama, kSmallQwen, kSmallMlp),
                         [](const auto& made) { return made.param["type"].template get<std::string>(); });

TEST(Gpt2, APositionDoesNotSeeLaterTokensAndShorterSequencesAreTaken) {
  const Model model = make_model_from_json(kSmallGpt, "m");
  const Values values = random_values(model, at::kDouble);
  const at::Tensor tokens = synthetic_batch(model.input, 2, 3).input;
  const at::Tensor whole = test::logits_of(model, values, tokens);
  const at::Tensor part = test::logits_of(model, values, tokens.narrow(1, 0, 4));
  EXPECT_TRUE(part.allclose(whole.narrow(1, 0, 4), 1e-10, 1e-12));
}

TEST(Gpt2, ASequenceLongerThanTheContextIsRefused) {
  const Model model = make_model_from_json(kSmallGpt, "m");
  const Values values = initial_values(model, 1);
  EXPECT_THROW(test::logits_of(model, values, at::zeros({1, 7}, at::kLong)), UsageError);
}

TEST(SyntheticBatch, IsAFunctionOfItsSeedAndInRange) {
  for (const auto& description : {kSmallVit, kSmallGpt, kSmallMlp}) {
    const InputSpec input = make_model_from_json(description, "m").input;
    const SyntheticBatch a = synthetic_batch(input, 4, 1), b = synthetic_batch(input, 4, 1),
                         c = synthetic_batch(input, 4, 2);
    EXPECT_TRUE(a.input.equal(b.input) && a.target.equal(b.target));
    EXPECT_FALSE(a.input.equal(c.input));
    const std::int64_t end = input.kind == InputSpec::Kind::tokens ? input.vocabulary : input.classes;
    EXPECT_TRUE(a.target.ge(0).logical_and(a.target.lt(end)).all().item<bool>());
  }
}

}  // namespace
}  // namespace lshdp::model
