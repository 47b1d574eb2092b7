// A model measured part by part looks as it does measured whole.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/measure/max_batch.h"
#include "measure/models.h"
#include "parts.h"

namespace lshdp::measure {
namespace {

constexpr std::int64_t kRoom = 1 << 30;

model::Model tied_gpt() {
  return model::make_model_from_json(
      {{"type", "gpt2"}, {"n_layer", 4}, {"n_head", 2}, {"n_embd", 32}, {"n_positions", 16}, {"vocab_size", 97}},
      "tied");
}

RankSetup with_memory(std::int64_t bytes) {
  RankSetup setup;
  setup.memory_bytes = bytes;
  return setup;
}

std::vector<plan::BlockProfile> measured_whole(const model::Model& model) {
  MemoryBudget budget;
  budget.set_limit(kRoom);
  const RankSetup setup = with_memory(kRoom);
  DryRun whole(model, setup, 0, 2);
  whole.finish_step(synthetic_batch_there(model.input, 1, 1, setup));
  return whole.measure_blocks(budget);
}

PartsProfile measured_in(const model::Model& model, std::int64_t bytes, std::int64_t largest) {
  MemoryBudget budget;
  const RankSetup setup = with_memory(bytes);
  budget.set_limit(bytes);
  PartsMeasurement parts(model, setup, 0, 2, budget, nullptr);
  if (parts.prepare() == 0) return {};
  EXPECT_GT(parts.update_seconds(), 0);
  return parts.run(2, largest);
}

void expect_same_blocks(const model::Model& model, std::int64_t bytes) {
  const std::vector<plan::BlockProfile> whole = measured_whole(model);
  const PartsProfile parts = measured_in(model, bytes, 4);
  ASSERT_EQ(parts.blocks.size(), whole.size());
  for (std::size_t block = 0; block < whole.size(); ++block) {
    EXPECT_EQ(parts.blocks[block].name, whole[block].name);
    EXPECT_EQ(parts.blocks[block].parameters, whole[block].parameters);
    EXPECT_EQ(parts.blocks[block].activation_bytes, whole[block].activation_bytes) << whole[block].name;
    EXPECT_EQ(parts.blocks[block].output_bytes, whole[block].output_bytes) << whole[block].name;
  }
  ASSERT_FALSE(parts.block_times.empty());
  EXPECT_EQ(parts.block_times.front().batch, 1);
  for (const plan::BlockTimes& times : parts.block_times) {
    EXPECT_THAT(times.forward, testing::SizeIs(whole.size()));
    EXPECT_THAT(times.forward, testing::Each(testing::Gt(0)));
    EXPECT_THAT(times.backward, testing::Each(testing::Gt(0)));
  }
}

TEST(PartsMeasurement, SeesTheSameBlocksAsInOnePiece) {
  // 16 bytes a parameter in ddp: the memory of half of them.
  const model::Model model = test::deeper_vit();
  expect_same_blocks(model, 16 * model.parameter_count() / 2);
}

TEST(PartsMeasurement, KeepsBlocksTogetherThatShareAParameter) {
  const model::Model model = tied_gpt();
  expect_same_blocks(model, 16 * model.parameter_count() / 2);
}

TEST(PartsMeasurement, SaysThatABlockDoesNotFit) {
  const model::Model model = test::deeper_vit();
  EXPECT_TRUE(measured_in(model, 20'000, 4).blocks.empty());
}

TEST(PartsMeasurement, EndsWhereMemoryDoes) {
  const model::Model model = test::deeper_vit();
  const PartsProfile little = measured_in(model, 16 * model.parameter_count() / 2, 1 << 20);
  ASSERT_FALSE(little.block_times.empty());
  EXPECT_LT(little.block_times.back().batch, 1 << 20);
  for (std::size_t i = 1; i < little.block_times.size(); ++i)
    EXPECT_GT(little.block_times[i].batch, little.block_times[i - 1].batch);
}

}  // namespace
}  // namespace lshdp::measure
