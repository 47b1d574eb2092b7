// Shapes of blocks: those that their models are known for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/model/shapes.h"
#include "model/run_model.h"

namespace lshdp::model {
namespace {

using testing::ElementsAre;

TEST(ShapesOf, FollowEachOtherThroughTheModel) {
  for (const auto& description : {test::kSmallVit, test::kSmallGpt, test::kSmallLlama, test::kSmallMlp}) {
    const Model model = make_model_from_json(description, "m");
    const std::vector<BlockShapes> shapes = shapes_of(model);
    ASSERT_EQ(shapes.size(), model.blocks.size());
    for (std::size_t block = 1; block < shapes.size(); ++block)
      EXPECT_EQ(shapes[block].input, shapes[block - 1].output) << description;
  }
}

TEST(ShapesOf, AreOfOneSample) {
  const std::vector<BlockShapes> vit = shapes_of(make_model_from_json(test::kSmallVit, "m"));
  EXPECT_THAT(vit.front().input, ElementsAre(2, 8, 8));
  EXPECT_THAT(vit.back().input, ElementsAre(5, 16));  // four patches and the class token
  EXPECT_THAT(vit.back().output, ElementsAre(5));
  const std::vector<BlockShapes> gpt = shapes_of(make_model_from_json(test::kSmallGpt, "m"));
  EXPECT_THAT(gpt.front().input, ElementsAre(6));
  EXPECT_THAT(gpt.front().output, ElementsAre(6, 16));
  EXPECT_THAT(gpt.back().output, ElementsAre(6, 11));
  const std::vector<BlockShapes> llama =
      shapes_of(make_model("llama-3.2-1b"), 3);  // of so many that none may be computed
  EXPECT_THAT(llama.front().input, ElementsAre(131072));
  EXPECT_THAT(llama.back().output, ElementsAre(131072, 2048));
}

}  // namespace
}  // namespace lshdp::model
