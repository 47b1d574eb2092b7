// Parameters against the counts that the models' authors and libraries give, and over devices against the whole.
#include <gtest/gtest.h>

#include "lshdp/explore/parameters.h"
#include "models.h"

namespace lshdp::explore::test {
namespace {

Model vit(std::int64_t layers, std::int64_t hidden, std::int64_t heads, std::int64_t patch) {
  Model model = gpt(layers, hidden, heads, 0, 0);
  model.vision = Vision{.image_size = 224, .patch_size = patch, .num_classes = 1000};
  model.seq_length = model.max_position_embeddings = (224 / patch) * (224 / patch) + 1;
  return model;
}

// Hugging Face: sums over the files of meta-llama/Llama-3.1-*.
TEST(Parameters, OfLlamasAreThoseOfTheirFiles) {
  EXPECT_EQ(total_parameters(llama(32, 4096, 32, 8, 14336, 128256)), 8'030'261'248);
  EXPECT_EQ(total_parameters(llama(80, 8192, 64, 8, 28672, 128256)), 70'553'706'496);
  EXPECT_EQ(total_parameters(llama(126, 16384, 128, 8, 53248, 128256)), 405'853'388'800);
}

// Hugging Face: mistralai/Mixtral-8x7B-v0.1, 8x22B-v0.1 and 8x22B-Instruct-v0.1. Of 8x7B, 12.9 billion meet a token
// (arXiv 2401.04088); of 8x22B, 39 billion.
TEST(Parameters, OfMixtralsAreThoseOfTheirFiles) {
  const Model small = mixtral(32, 4096, 32, 14336, 32000), large = mixtral(56, 6144, 48, 16384, 32000);
  EXPECT_EQ(total_parameters(small), 46'702'792'704);
  EXPECT_EQ(total_parameters(large), 140'620'634'112);
  EXPECT_EQ(total_parameters(mixtral(56, 6144, 48, 16384, 32768)), 140'630'071'296);
  EXPECT_EQ(active_parameters(small) / 100'000'000, 128);
  EXPECT_EQ(active_parameters(large) / 1'000'000'000, 39);
}

// arXiv 2412.19437: 671 billion, 37 billion for a token.
TEST(Parameters, OfDeepSeekV3AreThoseOfItsPaper) {
  EXPECT_EQ(total_parameters(deepseek_v3()) / 1'000'000'000, 671);
  EXPECT_EQ(active_parameters(deepseek_v3()) / 100'000'000, 375);
}

// Hugging Face's GPT2LMHeadModel and torchvision.
TEST(Parameters, WithBiasesPositionsAndTiedHeadsAreThoseOfLibraries) {
  EXPECT_EQ(total_parameters(gpt(12, 768, 12, 1024, 50257)), 124'439'808);
  EXPECT_EQ(total_parameters(gpt(48, 1600, 25, 1024, 50257)), 1'557'611'200);
  EXPECT_EQ(total_parameters(vit(12, 768, 12, 16)), 86'567'656);
  EXPECT_EQ(total_parameters(vit(24, 1024, 16, 32)), 306'535'400);
  EXPECT_EQ(total_parameters(vit(32, 1280, 16, 14)), 632'045'800);
}

TEST(Parameters, OverDevicesAddUpToTheModelAndWhatEachHoldsWhole) {
  const Model model = mixtral(32, 4096, 32, 14336, 32000);
  const LayerParameters whole = layer_parameters(model, true, 1, 1), part = layer_parameters(model, true, 4, 2);
  EXPECT_EQ(4 * part.attention, whole.attention);
  EXPECT_EQ(8 * part.experts, whole.experts);
  EXPECT_EQ(part.router, 4096 * 8);
  EXPECT_EQ(part.norms_and_biases, 2 * 4096);
}

TEST(Parameters, OfATiedHeadAreThereAgainOnAStageWithoutTheEmbedding) {
  const Model model = gpt(12, 768, 12, 1024, 50257);
  EXPECT_EQ(head_parameters(model, 1, true), 2 * 768);
  EXPECT_EQ(head_parameters(model, 1, false), 2 * 768 + 50257 * 768);
  EXPECT_EQ(head_parameters(model, 8, false), 2 * 768 + 6283 * 768);  // rows of the last device are padded
}

TEST(Parameters, OfLayersFollowTheShareOfExpertLayers) {
  Model model = mixtral(12, 4096, 32, 14336, 32000);
  const auto expert_layers = [&](double frequency, std::int64_t first_dense) {
    model.moe.expert_frequency = frequency;
    model.moe.first_dense_layers = first_dense;
    std::string layers;
    for (std::int64_t layer = 0; layer < model.num_layers; ++layer) layers += model.is_expert_layer(layer) ? 'e' : '-';
    return layers;
  };
  EXPECT_EQ(expert_layers(1, 0), "eeeeeeeeeeee");
  EXPECT_EQ(expert_layers(0.5, 0), "-e-e-e-e-e-e");
  EXPECT_EQ(expert_layers(1, 3), "---eeeeeeeee");
  EXPECT_EQ(expert_layers(0.333333333, 0), "--e--e--e--e");
}

}  // namespace
}  // namespace lshdp::explore::test
