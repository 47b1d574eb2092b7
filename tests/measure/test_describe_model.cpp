// Descriptions of models: sizes by block and by rank, and layouts that are not of the model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/measure/describe_model.h"
#include "model/run_model.h"

namespace lshdp::measure {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

model::Model small_mlp() { return model::make_model_from_json(model::test::kSmallMlp, "small"); }

/// Rank 4 alone, and rank 2 with both ends beside rank 0.
plan::Layout example_layout(std::size_t blocks) {
  plan::Layout layout{.blocks = blocks};
  layout.replicas = {{4, {4}, {{.rank = 4, .start = 0, .end = blocks}}},
                     {8,
                      {4, 4},
                      {{.rank = 2, .start = 0, .end = 1},
                       {.rank = 0, .start = 1, .end = blocks - 1},
                       {.rank = 2, .start = blocks - 1, .end = blocks}}}};
  return layout;
}

TEST(DescribeModel, ListsBlocks) {
  const ModelDescription description = describe_model(small_mlp());
  EXPECT_EQ(description.model, "small");
  EXPECT_EQ(description.parameters, 12 * 8 + 8 + 8 * 6 + 6 + 6 * 4 + 4);
  ASSERT_EQ(description.blocks.size(), 3);
  EXPECT_THAT(description.blocks[1].input, ElementsAre(8));
  EXPECT_THAT(description.blocks[1].output, ElementsAre(6));
  EXPECT_EQ(description.blocks[1].parameters, 8 * 6 + 6);
  EXPECT_THAT(to_text(description), AllOf(HasSubstr("small: 186 parameters, 744 B in fp32, 2.91 KiB with gradients"),
                                          Not(HasSubstr("rank"))));
  EXPECT_FALSE(to_json(description).contains("ranks"));
}

TEST(DescribeModel, SaysWhichRanksHoldWhat) {
  const plan::Layout layout = example_layout(3);
  const ModelDescription description = describe_model(small_mlp(), &layout, "l.json");
  EXPECT_THAT(description.blocks[0].ranks, ElementsAre(2, 4));
  EXPECT_THAT(description.blocks[1].ranks, ElementsAre(0, 4));
  ASSERT_EQ(description.ranks.size(), 3);
  EXPECT_EQ(description.ranks[0].rank, 0);
  EXPECT_EQ(description.ranks[0].parameters, 8 * 6 + 6);
  EXPECT_THAT(description.ranks[1].blocks, ElementsAre(Pair(0, 1), Pair(2, 3)));
  EXPECT_EQ(description.ranks[1].parameters, 12 * 8 + 8 + 6 * 4 + 4);
  EXPECT_EQ(description.ranks[2].parameters, 186);
  const std::string text = to_text(description);
  EXPECT_THAT(text, AllOf(HasSubstr("2, 4"), HasSubstr("0, 2"), HasSubstr("0..2")));
  const Json json = to_json(description);
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["blocks"][0]["ranks"], Json({2, 4}));
  EXPECT_EQ(json["ranks"][1], Json::parse(R"({"rank":2,"blocks":[[0,1],[2,3]],"parameters":132,"parameter_bytes":528,
                                              "training_bytes":2112})"));
}

TEST(DescribeModel, CountsATiedEmbeddingOnce) {
  const model::Model gpt = model::make_model_from_json(model::test::kSmallGpt, "gpt");
  const plan::Layout layout = example_layout(gpt.blocks.size());
  const ModelDescription description = describe_model(gpt, &layout, "l.json");
  std::int64_t added = 0;
  for (const BlockDescription& block : description.blocks) added += block.parameters;
  EXPECT_EQ(added, description.parameters);
  EXPECT_EQ(description.ranks.back().parameters, description.parameters);
}

TEST(DescribeModel, RefusesALayoutOfAnotherModel) {
  const auto refusal = [](const model::Model& model, const plan::Layout& layout) -> std::string {
    try {
      describe_model(model, &layout, "l.json");
      return "accepted";
    } catch (const UsageError& error) {
      return error.what();
    }
  };
  EXPECT_THAT(refusal(small_mlp(), example_layout(4)), HasSubstr("l.json: is a layout of 4 blocks"));
  const model::Model gpt = model::make_model_from_json(model::test::kSmallGpt, "gpt");
  plan::Layout apart = example_layout(gpt.blocks.size());
  apart.replicas[1].stages[2].rank = 1;
  EXPECT_THAT(refusal(gpt, apart), HasSubstr("l.json: replicas[1]: blocks 0 and"));
}

}  // namespace
}  // namespace lshdp::measure
