// Cutting into stages, and what the schedules keep in flight.
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/explore/stages.h"
#include "models.h"

namespace lshdp::explore::test {
namespace {

using testing::ElementsAre;

std::int64_t sum(const InFlight& moment) { return std::accumulate(moment.begin(), moment.end(), std::int64_t{0}); }

// arXiv 2407.21783, section 3.3.2: one layer fewer on the first and on the last stage.
TEST(Stages, OfABalancedSplitLeaveRoomForEmbeddingAndHead) {
  const Model model = llama(126, 16384, 128, 8, 53248, 128256);
  const auto layers = layers_of_pieces(model, {.pipeline = 16, .layer_split = LayerSplit::balanced});
  ASSERT_EQ(layers.size(), 16U);
  EXPECT_EQ(layers.front(), 7);
  EXPECT_EQ(layers.back(), 7);
  EXPECT_EQ(*std::max_element(layers.begin(), layers.end()), 8);
  EXPECT_EQ(sum(layers), 126);
}

TEST(Stages, WhereLayersDoNotDivideTheMiddleOnesHaveMore) {
  const Model model = llama(10, 4096, 32, 8, 14336, 1000);
  EXPECT_THAT(layers_of_pieces(model, {.pipeline = 4, .layer_split = LayerSplit::balanced}), ElementsAre(2, 3, 3, 2));
}

TEST(Stages, TakeTheirChunksInTurn) {
  Model model = mixtral(8, 4096, 32, 14336, 32000);
  model.moe.first_dense_layers = 3;
  const std::vector<Stage> stages = cut_into_stages(model, {.pipeline = 2, .interleaving = 2});
  ASSERT_EQ(stages.size(), 2U);
  EXPECT_TRUE(stages[0][0].has_embedding);
  EXPECT_TRUE(stages[1][1].has_head);
  EXPECT_EQ(stages[0][0].dense_layers, 2);  // layers 0 and 1
  EXPECT_EQ(stages[1][0].dense_layers, 1);  // 2 and 3
  EXPECT_EQ(stages[1][0].expert_layers, 1);
  EXPECT_EQ(stages[0][1].expert_layers, 2);  // 4 and 5
}

TEST(Schedule, OneForwardOneBackwardKeepsAMicroBatchForEachStageBehind) {
  for (std::int64_t stage = 0; stage < 4; ++stage)
    EXPECT_THAT(worst_moments(4, 1, 16, stage), ElementsAre(ElementsAre(4 - stage)));
  EXPECT_THAT(worst_moments(4, 1, 2, 0), ElementsAre(ElementsAre(2)));
}

// arXiv 2205.05198, section 4.2.3: (1 + (p - 1) / (p m)) times the layers of the model on the first stage.
TEST(Schedule, InterleavedKeepsWhatIsPublishedOnTheFirstStage) {
  for (const std::int64_t p : {2, 4, 8}) {
    for (const std::int64_t m : {2, 3, 4}) {
      for (const InFlight& moment : worst_moments(p, m, 8 * p, 0)) EXPECT_EQ(sum(moment), p * m + p - 1);
    }
  }
}

TEST(Schedule, InterleavedNeverKeepsMoreThanThereIs) {
  EXPECT_THAT(worst_moments(4, 2, 4, 0), ElementsAre(ElementsAre(4, 4)));
  for (const InFlight& moment : worst_moments(4, 2, 8, 3)) EXPECT_EQ(sum(moment), 5);
}

/// The most that a stage keeps, by `weights` of its chunks, when the schedule is followed step by step.
std::int64_t most_step_by_step(std::int64_t p, std::int64_t micro_batches, std::int64_t stage,
                               const InFlight& weights) {
  const auto v = static_cast<std::int64_t>(weights.size());
  const std::int64_t steps = micro_batches * v, warm_up = std::min(steps, 2 * (p - stage - 1) + (v - 1) * p);
  const auto weight = [&](std::int64_t turn) { return weights[static_cast<std::size_t>(turn)]; };
  std::int64_t now = 0, most = 0;
  for (std::int64_t step = 0; step < steps; ++step) {
    now += weight(step / p % v);
    most = std::max(most, now);
    if (step >= warm_up) now -= weight(v - 1 - (step - warm_up) / p % v);
  }
  return most;
}

TEST(Schedule, InterleavedIsAtItsWorstWhereChunksChange) {
  for (const std::int64_t p : {2, 3, 4, 7}) {
    for (const InFlight& weights : {InFlight{1, 1}, {5, 1}, {1, 9}, {3, 1, 1}, {1, 7, 1}, {1, 2, 3, 4}, {9, 1, 1, 6}}) {
      for (const std::int64_t groups : {1, 2, 3, 5}) {
        for (std::int64_t stage = 0; stage < p; ++stage) {
          std::int64_t most = 0;
          for (const InFlight& moment : worst_moments(p, static_cast<std::int64_t>(weights.size()), groups * p, stage))
            most = std::max(most, std::inner_product(moment.begin(), moment.end(), weights.begin(), std::int64_t{0}));
          EXPECT_EQ(most, most_step_by_step(p, groups * p, stage, weights)) << p << ' ' << groups << ' ' << stage;
        }
      }
    }
  }
}

TEST(Schedule, DoesNotChangeBeyondEnoughMicroBatches) {
  for (const std::int64_t p : {2, 3, 8}) {
    for (const std::int64_t v : {1, 2, 5}) {
      for (std::int64_t stage = 0; stage < p; ++stage)
        EXPECT_EQ(worst_moments(p, v, enough_micro_batches(p, v), stage), worst_moments(p, v, 10 * p, stage))
            << p << ' ' << v << ' ' << stage;
    }
  }
}

}  // namespace
}  // namespace lshdp::explore::test
