// Cross-entropy as a sum, and counts of right answers.
#include <cmath>

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lshdp/model/model.h"

namespace lshdp::model {
namespace {

TEST(SummedCrossEntropy, IsTheSumOfNegativeLogProbabilities) {
  const at::Tensor logits = at::tensor({1.0, 2.0, 0.5, -1.0}).reshape({2, 2});
  const at::Tensor target = at::tensor({1, 0}, at::kLong);
  const double expected = std::log1p(std::exp(-1.0)) + std::log1p(std::exp(-1.5));
  EXPECT_NEAR(summed_cross_entropy(logits, target, 0).item<double>(), expected, 1e-7);
}

TEST(SummedCrossEntropy, SmoothingMixesInTheMeanOverAllClasses) {
  const at::Tensor logits = at::tensor({1.0, 2.0}, at::kDouble).reshape({1, 2});
  const at::Tensor target = at::tensor({1}, at::kLong);
  const double right = std::log1p(std::exp(-1.0)), wrong = right + 1;
  EXPECT_NEAR(summed_cross_entropy(logits, target, 0.2).item<double>(), 0.8 * right + 0.1 * (right + wrong), 1e-14);
}

TEST(SummedCrossEntropy, OfABatchIsTheSumOverItsParts) {
  const at::Tensor logits = at::arange(30, at::kDouble).sin().reshape({2, 3, 5});
  const at::Tensor target = at::tensor({0, 1, 2, 3, 4, 0}, at::kLong).reshape({2, 3});
  double sum = 0;
  for (std::int64_t i = 0; i < 2; ++i) sum += summed_cross_entropy(logits[i], target[i], 0.1).item<double>();
  EXPECT_NEAR(summed_cross_entropy(logits, target, 0.1).item<double>(), sum, 1e-12);
}

TEST(SummedCrossEntropy, OfBfloat16LogitsIsComputedInSinglePrecision) {
  const at::Tensor logits = at::arange(30, at::kFloat).sin().reshape({6, 5}).to(at::kBFloat16);
  const at::Tensor target = at::tensor({0, 1, 2, 3, 4, 0}, at::kLong);
  const at::Tensor loss = summed_cross_entropy(logits, target, 0);
  EXPECT_EQ(loss.scalar_type(), at::kFloat);
  EXPECT_TRUE(loss.equal(summed_cross_entropy(logits.to(at::kFloat), target, 0)));
}

TEST(SummedCrossEntropy, ATargetOutOfRangeIsAnErrorAndNotIgnored) {
  const at::Tensor logits = at::zeros({1, 3});
  for (const std::int64_t target : {std::int64_t{3}, std::int64_t{-1}, std::int64_t{-99}}) {
    EXPECT_THROW(summed_cross_entropy(logits, at::full({1}, target, at::kLong), 0), c10::Error) << target;
  }
}

TEST(SummedCrossEntropy, OfATargetThatIsNotTrainedIsNothing) {
  const at::Tensor logits = at::randn({3, 4}, at::kDouble).requires_grad_();
  const at::Tensor target = at::tensor({std::int64_t{1}, kUntrainedTarget, std::int64_t{2}}, at::kLong);
  for (const double smoothing : {0.0, 0.1}) {
    const at::Tensor loss = summed_cross_entropy(logits, target, smoothing);
    const at::Tensor kept = at::tensor({std::int64_t{0}, std::int64_t{2}}, at::kLong);
    EXPECT_NEAR(
        loss.item<double>(),
        summed_cross_entropy(logits.index_select(0, kept), target.index_select(0, kept), smoothing).item<double>(),
        1e-12);
    EXPECT_EQ(torch::autograd::grad({loss}, {logits})[0][1].abs().sum().item<double>(), 0);
  }
  EXPECT_EQ(count_terms(target), 2);
  EXPECT_EQ(correct_predictions(at::zeros({3, 4}), at::full({3}, kUntrainedTarget, at::kLong)), 0);
}

TEST(CorrectPredictions, CountsWhereTheLargestLogitIsTheTarget) {
  const at::Tensor logits = at::tensor({0.0, 1.0, 2.0, 0.0, -1.0, -2.0, 3.0, 1.0}).reshape({2, 2, 2});
  EXPECT_EQ(correct_predictions(logits, at::tensor({1, 0, 0, 1}, at::kLong).reshape({2, 2})), 3);
}

}  // namespace
}  // namespace lshdp::model
