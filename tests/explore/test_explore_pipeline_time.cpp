// The closed form of a pipeline's time against the event simulation.
#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "lshdp/explore/pipeline_time.h"

namespace lshdp::explore::test {
namespace {

double simulated(const std::vector<StagePass>& stages, std::int64_t interleaving, std::int64_t micro_batches) {
  return end_of(simulate_pipeline(stages, interleaving, micro_batches));
}

std::vector<StagePass> equal_stages(std::size_t count, double send = 0) {
  return std::vector<StagePass>(count, {1, 2, send});
}

TEST(PipelineTime, OfOneStageIsItsWork) {
  EXPECT_DOUBLE_EQ(pipeline_seconds(equal_stages(1), 1, 7), 7 * 3);
  EXPECT_DOUBLE_EQ(simulated(equal_stages(1), 1, 7), 7 * 3);
}

TEST(PipelineTime, OfEqualStagesIsThatOfThePaperAndOfTheSimulation) {
  for (const std::int64_t stages : {2, 4, 8}) {
    for (const std::int64_t chunks : {1, 2, 4}) {
      for (const std::int64_t rounds : {1, 2, 3, 16}) {
        const std::int64_t m = rounds * stages;
        const double paper =
            3.0 * (static_cast<double>(m) + static_cast<double>(stages - 1) / static_cast<double>(chunks));
        const auto equal = equal_stages(static_cast<std::size_t>(stages));
        EXPECT_NEAR(pipeline_seconds(equal, chunks, m), paper, 1e-9) << stages << ' ' << chunks << ' ' << m;
        EXPECT_NEAR(simulated(equal, chunks, m), paper, 1e-9) << stages << ' ' << chunks << ' ' << m;
      }
    }
  }
}

TEST(PipelineTime, WithMessagesIsWithinTwoPercentOfTheSimulation) {
  for (const std::size_t stages : {2U, 3U, 4U, 8U}) {
    for (const std::int64_t chunks : {1, 2, 4}) {
      for (const std::int64_t rounds : {1, 2, 4, 16}) {
        const auto m = rounds * static_cast<std::int64_t>(stages);
        const auto equal = equal_stages(stages, 0.1);
        const double events = simulated(equal, chunks, m);
        EXPECT_NEAR(pipeline_seconds(equal, chunks, m), events, 0.02 * events) << stages << ' ' << chunks << ' ' << m;
      }
    }
  }
}

/// Embedding and head make the first and the last stage longer, and layers do not divide.
TEST(PipelineTime, OfUnequalStagesIsWithinFivePercentOfTheSimulation) {
  std::vector<StagePass> stages = equal_stages(8, 0.02);
  stages.front() = {1.3, 2.4, 0.02};
  stages[3] = {1.2, 2.4, 0.02};
  stages.back() = {1.4, 2.9, 0.02};
  for (const std::int64_t chunks : {1, 2}) {
    for (const std::int64_t m : {8, 16, 64, 256}) {
      const double events = simulated(stages, chunks, m);
      EXPECT_NEAR(pipeline_seconds(stages, chunks, m), events, 0.05 * events) << chunks << ' ' << m;
    }
  }
}

TEST(PipelineTime, OfFewerMicroBatchesThanStagesIsTheWayThrough) {
  EXPECT_NEAR(pipeline_seconds(equal_stages(4), 1, 1), 12, 1e-9);
  EXPECT_NEAR(pipeline_seconds(equal_stages(4), 1, 2), 15, 1e-9);
  EXPECT_NEAR(simulated(equal_stages(4), 1, 2), 15, 1e-9);
  EXPECT_NEAR(pipeline_seconds(equal_stages(4, 0.1), 1, 1), 12.6, 1e-9);
}

}  // namespace
}  // namespace lshdp::explore::test
