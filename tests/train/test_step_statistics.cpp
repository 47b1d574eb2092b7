// Tests of the step figures on several ranks: order, delay, norms, and what begin() leaves out.
#include <cmath>

#include <gtest/gtest.h>

#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/clock.h"
#include "step_statistics.h"

namespace lshdp::train {
namespace {

class StepFigures : public testing::Test {
 protected:
  comm::MpiSession session_{nullptr, nullptr};
  std::unique_ptr<comm::Communicator> communicator_ = comm::make_mpi_communicator(session_);
};

TEST_F(StepFigures, OfAllRanksComeOutInOrderWithTheNormThatFollowed) {
  const int rank = session_.rank(), ranks = session_.size();
  StepStatistics statistics(*communicator_);
  statistics.begin(now_seconds());
  std::vector<GatheredStep> seen;
  const auto take = [&](std::vector<GatheredStep> steps) { seen.insert(seen.end(), steps.begin(), steps.end()); };
  for (std::int64_t step = 1; step <= 6; ++step) {
    take(statistics.end_step({.step = step,
                              .loss = static_cast<double>(10 * step + rank),
                              .squared_norm_of_previous = static_cast<double>(step - 1),
                              .loss_scale_of_previous = static_cast<double>(100 * (step - 1)),
                              .compute_seconds = static_cast<double>(step * (rank + 1)),
                              .bytes_sent = 7 * step,
                              .peak_tensor_bytes = 100 + rank,
                              .interrupted = step == 3 && rank == ranks - 1}));
    EXPECT_EQ(seen.size(), static_cast<std::size_t>(std::max<std::int64_t>(0, step - 2)));
  }
  take(statistics.flush(6, 600));
  EXPECT_TRUE(statistics.flush(0).empty());
  ASSERT_EQ(seen.size(), 6U);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(seen[i].step, static_cast<std::int64_t>(i + 1));
    EXPECT_DOUBLE_EQ(seen[i].record.gradient_norm, std::sqrt(static_cast<double>((i + 1)) * ranks));
    EXPECT_DOUBLE_EQ(seen[i].loss_scale, static_cast<double>(100 * (i + 1)));
    EXPECT_EQ(seen[i].interrupted, i == 2);
    for (int r = 0; r < ranks; ++r) {
      EXPECT_DOUBLE_EQ(seen[i].losses[static_cast<std::size_t>(r)], static_cast<double>(10 * (i + 1)) + r);
      EXPECT_DOUBLE_EQ(seen[i].record.compute_seconds[static_cast<std::size_t>(r)], r + 1);
      EXPECT_EQ(seen[i].record.bytes_sent[static_cast<std::size_t>(r)], 7);
      EXPECT_EQ(seen[i].record.peak_tensor_bytes[static_cast<std::size_t>(r)], 100 + r);
    }
  }
  communicator_->barrier();
}

TEST_F(StepFigures, DoNotCountTimeBeforeBegin) {
  StepStatistics statistics(*communicator_);
  statistics.begin(now_seconds() - 100);
  statistics.end_step({.step = 1});
  statistics.begin(now_seconds());
  statistics.end_step({.step = 2});
  const std::vector<GatheredStep> steps = statistics.flush(0);
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_GE(steps[0].record.step_seconds, 100);
  EXPECT_LT(steps[1].record.step_seconds, 50);
  communicator_->barrier();
}

TEST_F(StepFigures, DoNotCountWhatWasCountedBeforeBegin) {
  StepStatistics statistics(*communicator_);
  statistics.begin(now_seconds(), {.compute_seconds = 40, .communication_seconds = 10, .wait_seconds = 5});
  statistics.end_step({.step = 1, .compute_seconds = 42, .communication_seconds = 11, .wait_seconds = 5.5});
  statistics.begin(now_seconds(), {.compute_seconds = 142, .communication_seconds = 111, .wait_seconds = 105.5});
  statistics.end_step({.step = 2, .compute_seconds = 143, .communication_seconds = 111.5, .wait_seconds = 106});
  const std::vector<GatheredStep> steps = statistics.flush(0);
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_DOUBLE_EQ(steps[0].record.compute_seconds[0], 2);
  EXPECT_DOUBLE_EQ(steps[0].record.communication_seconds[0], 1);
  EXPECT_DOUBLE_EQ(steps[0].record.wait_seconds[0], 0.5);
  EXPECT_DOUBLE_EQ(steps[1].record.compute_seconds[0], 1);
  EXPECT_DOUBLE_EQ(steps[1].record.communication_seconds[0], 0.5);
  EXPECT_DOUBLE_EQ(steps[1].record.wait_seconds[0], 0.5);
  EXPECT_EQ(steps[1].record.rank_seconds.size(), static_cast<std::size_t>(session_.size()));
  EXPECT_FALSE(steps[1].record.time.empty());
  communicator_->barrier();
}

}  // namespace
}  // namespace lshdp::train
