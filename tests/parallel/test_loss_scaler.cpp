// Tests of the loss scale: when it moves, within which bounds, and what the batch has to do with it.
#include <stdexcept>

#include <gtest/gtest.h>

#include "lshdp/parallel/loss_scaler.h"

namespace lshdp::parallel {
namespace {

void end_steps(LossScaler& scaler, int count, bool finite) {
  for (int i = 0; i < count; ++i) scaler.end_step(finite);
}

TEST(LossScaler, BeginsWithTwoToTheSixteenthAndDoublesAfterTwoThousandGoodSteps) {
  LossScaler scaler;
  end_steps(scaler, 1999, true);
  EXPECT_EQ(scaler.state().scale, 65536);
  end_steps(scaler, 1, true);
  EXPECT_EQ(scaler.state().scale, 131072);
  EXPECT_EQ(scaler.state().good_steps, 0);
}

TEST(LossScaler, HalvesAtAnOverflowAndBeginsToCountAnew) {
  LossScaler scaler({.initial = 64, .growth_interval = 3});
  end_steps(scaler, 2, true);
  scaler.end_step(false);
  EXPECT_EQ(scaler.state().scale, 32);
  EXPECT_EQ(scaler.state().skipped_steps, 1);
  end_steps(scaler, 2, true);
  EXPECT_EQ(scaler.state().scale, 32);
  scaler.end_step(true);
  EXPECT_EQ(scaler.state().scale, 64);
  EXPECT_EQ(scaler.state().skipped_steps, 1);
}

TEST(LossScaler, StaysWithinItsBounds) {
  LossScaler scaler({.initial = 4, .growth_interval = 1});
  end_steps(scaler, 5, false);
  EXPECT_EQ(scaler.state().scale, 1);
  EXPECT_EQ(scaler.state().skipped_steps, 5);
  end_steps(scaler, 100, true);
  EXPECT_EQ(scaler.state().scale, LossScaler::kLargest);
}

TEST(LossScaler, GoesOnWhereAnotherStood) {
  LossScaler first({.initial = 64, .growth_interval = 3});
  first.end_step(false);
  end_steps(first, 2, true);
  LossScaler second({.initial = 1024, .growth_interval = 3});
  second.set_state(first.state());
  second.end_step(true);
  EXPECT_EQ(second.state().scale, 64);
  EXPECT_EQ(second.state().skipped_steps, 1);
}

TEST(LossScaler, RefusesScalesThatRound) {
  for (const double scale : {0.5, 3.0, 0.0, -2.0, 2 * LossScaler::kLargest}) {
    EXPECT_THROW(LossScaler({.initial = scale}), std::invalid_argument) << scale;
    EXPECT_THROW(LossScaler().set_state({.scale = scale}), std::invalid_argument) << scale;
  }
  EXPECT_THROW(LossScaler({.growth_interval = 0}), std::invalid_argument);
  EXPECT_THROW(LossScaler().set_state({.scale = 2, .good_steps = -1}), std::invalid_argument);
}

TEST(LossScaler, IsForFp16Only) {
  EXPECT_TRUE(make_loss_scaler(Precision::fp16, {}).has_value());
  for (const Precision other : {Precision::fp32, Precision::bf16, Precision::fp64})
    EXPECT_FALSE(make_loss_scaler(other, {}).has_value());
}

TEST(ScaleOfSummedLoss, IsTheScaleOfTheMeanRoundedDownToAPowerOfTwo) {
  EXPECT_EQ(scale_of_summed_loss(65536, 1), 65536);
  EXPECT_EQ(scale_of_summed_loss(65536, 64), 1024);
  EXPECT_EQ(scale_of_summed_loss(65536, 65), 512);
  EXPECT_EQ(scale_of_summed_loss(1, 48), 1.0 / 64);
}

}  // namespace
}  // namespace lshdp::parallel
