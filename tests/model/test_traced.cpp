// Models exported from PyTorch: files and descriptions, types, threads, memory that runs out, what is refused.
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/model/lora.h"
#include "lshdp/model/shapes.h"
#include "lshdp/model/traced.h"
#include "model/run_model.h"
#include "support/temporary_directory.h"

namespace lshdp::model {
namespace {

using lshdp::test::TemporaryDirectory;
using test::logits_of;

const std::string kFile = LSHDP_TEST_DATA "/traced_gpt.weights.safetensors";

std::string refusal_of(const Json& description) {
  try {
    make_model_from_json(description, "made up");
  } catch (const UsageError& error) {
    return error.what();
  }
  return "nothing";
}

TEST(Traced, AnExportedFileIsAModelAndItsWeights) {
  const Model model = make_model(kFile);
  EXPECT_EQ(model.name, "traced_gpt.weights");
  EXPECT_TRUE(is_traced(model));
  EXPECT_EQ(model.blocks.size(), 4u);
  EXPECT_EQ(model.input.context, 8);
  EXPECT_EQ(model.input.vocabulary, 13);
  EXPECT_EQ(model.blocks.back()->borrowed(), std::vector<std::string>{"embedding.tokens.weight"});
  EXPECT_EQ(read_weights(model, kFile).size(), 4u);
  EXPECT_FALSE(exported_description(LSHDP_TEST_DATA "/vit.weights.safetensors"));
  EXPECT_FALSE(exported_description(LSHDP_TEST_DATA "/vit.json"));
}

TEST(Traced, DescriptionsAndConfigurationsBuildTheSameModel) {
  const Model model = make_model(kFile);
  EXPECT_EQ(make_model_from_json(model.description, "again").description, model.description);
  EXPECT_EQ(make_model_from_json(config_of(model, at::kFloat), "again").description, model.description);
  EXPECT_EQ(with_context(model, 8).description, model.description);
  EXPECT_THROW(with_context(model, 4), UsageError);
}

TEST(Traced, ShapesAreThoseOfTheWholeContext) {
  const std::vector<BlockShapes> shapes = shapes_of(make_model(kFile));
  EXPECT_EQ(shapes.front().input, (std::vector<std::int64_t>{8}));
  EXPECT_EQ(shapes[1].input, (std::vector<std::int64_t>{8, 8}));
  EXPECT_EQ(shapes.back().output, (std::vector<std::int64_t>{8, 13}));
}

TEST(Traced, ManyThreadsRunOneModelAtATime) {
  const Model model = make_model(kFile);
  const Values values = read_weights(model, kFile), wide = test::leaves(values, at::kDouble);
  const at::Tensor input = synthetic_batch(model.input, 3, 1).input, expected = logits_of(model, values, input);
  std::vector<std::thread> threads;
  std::vector<int> equal(8);
  for (int& result : equal) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        logits_of(model, wide, input);  // in another type, whose constants are made by the first who asks
        result += logits_of(model, values, input).equal(expected) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(equal, testing::Each(20));
}

TEST(Traced, InputsAndParametersStayAsTheyAre) {
  const Model model = make_model(LSHDP_TEST_DATA "/traced_conv.weights.safetensors");
  const Values values = read_weights(model, LSHDP_TEST_DATA "/traced_conv.weights.safetensors");
  const at::Tensor input = synthetic_batch(model.input, 2, 1).input, first = logits_of(model, values, input);
  EXPECT_TRUE(logits_of(model, values, input).equal(first));
}

TEST(Traced, OnlyTypesThatWereTriedAreTaken) {
  Model model = make_model(kFile);
  EXPECT_NO_THROW(require_type(model, at::kDouble, "--precision"));
  model.description["types"] = {"float32"};
  EXPECT_NO_THROW(require_type(model, at::kFloat, "--precision"));
  EXPECT_THROW(require_type(model, at::kBFloat16, "--precision"), UsageError);
}

TEST(Traced, AdaptersAreRefused) {
  EXPECT_THROW(with_lora(make_model(kFile), parse_lora("r=2,targets=all-linear"), "--lora"), UsageError);
}

TEST(Traced, BadDescriptionsAreRefusedByTheirKey) {
  const Json good = make_model(kFile).description;
  const auto with = [&](const std::string& pointer, const Json& value) {
    Json changed = good;
    changed[Json::json_pointer(pointer)] = value;
    return refusal_of(changed);
  };
  EXPECT_THAT(with("/version", 2), testing::HasSubstr("version"));
  EXPECT_THAT(with("/input/kind", "sound"), testing::HasSubstr("kind"));
  EXPECT_THAT(with("/input/context", 0), testing::HasSubstr("context"));
  EXPECT_THAT(with("/blocks", Json::array()), testing::HasSubstr("blocks"));
  EXPECT_THAT(with("/blocks/1/program", 9), testing::HasSubstr("program"));
  EXPECT_THAT(with("/blocks/1/parameters", Json::array()), testing::HasSubstr("parameters"));
  EXPECT_THAT(with("/blocks/1/parameters/0/name", "embedding.tokens.weight"), testing::HasSubstr("a second time"));
  EXPECT_THAT(with("/blocks/1/parameters/0/shape", {-1}), testing::HasSubstr("shape"));
  EXPECT_THAT(with("/blocks/3/borrowed", {"nobody's"}), testing::HasSubstr("no earlier block"));
  EXPECT_THAT(with("/blocks/3/borrowed", Json::array()), testing::HasSubstr("tensors, not"));
}

TEST(Traced, DamagedProgramsAreRefused) {
  Json description = make_model(kFile).description;
  const std::string whole = description["programs"][0];
  for (const std::string& text : {std::string("%%%%"), std::string("abc"), whole.substr(0, whole.size() / 8 * 4),
                                  std::string("AAAA") + whole.substr(4), std::string("eJxLTEpOAQAD2AGM")}) {
    description["programs"][0] = text;
    EXPECT_THAT(refusal_of(description), testing::HasSubstr("programs[0]")) << text.substr(0, 20);
  }
}

}  // namespace
}  // namespace lshdp::model
