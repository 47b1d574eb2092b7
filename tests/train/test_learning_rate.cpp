// Tests of the learning rate by step.
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/train/schedule.h"

namespace lshdp::train {
namespace {

TEST(Schedule, WarmsUpLinearlyToThePeak) {
  const Schedule schedule{.learning_rate = 1, .warmup_steps = 4, .total_steps = 100};
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 0), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 3), 0.8);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 4), 1);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 99), 1);
}

TEST(Schedule, FallsAsACosineToZero) {
  const Schedule schedule{.kind = Schedule::Kind::cosine, .learning_rate = 2, .warmup_steps = 10, .total_steps = 110};
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule, 10), 2);
  EXPECT_NEAR(learning_rate_at(schedule, 60), 1, 1e-12);
  EXPECT_NEAR(learning_rate_at(schedule, 110), 0, 1e-12);
  for (std::int64_t step = 10; step < 109; ++step)
    EXPECT_GT(learning_rate_at(schedule, step), learning_rate_at(schedule, step + 1));
}

TEST(Schedule, BeginsAtThePeakWithoutWarmUp) {
  EXPECT_DOUBLE_EQ(learning_rate_at({.kind = Schedule::Kind::cosine, .learning_rate = 3, .total_steps = 5}, 0), 3);
}

TEST(Schedule, KnowsItsNames) {
  EXPECT_EQ(schedule_from_text("constant"), Schedule::Kind::constant);
  EXPECT_EQ(schedule_from_text("cosine"), Schedule::Kind::cosine);
  EXPECT_THROW(schedule_from_text("linear"), UsageError);
}

}  // namespace
}  // namespace lshdp::train
