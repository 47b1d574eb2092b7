// Fine-tuning: fresh heads, torchvision's positions for other images, what is not trained, rates by layer.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/model/fine_tuning.h"
#include "lshdp/model/lora.h"
#include "lshdp/model/safetensors.h"
#include "lshdp/model/weights.h"
#include "support/temporary_directory.h"

namespace lshdp::model {
namespace {

using testing::AllOf;
using testing::DoubleEq;
using testing::HasSubstr;

const std::string kData = LSHDP_TEST_DATA "/";

Model vit(std::int64_t classes, std::int64_t image) {
  Json description = read_json(kData + "vit.json");
  description["num_classes"] = classes;
  description["image_size"] = image;
  return make_model_from_json(description, "vit");
}

Model gpt() { return make_model(kData + "gpt2.json"); }

Values read(const Model& model, const std::string& file, const WeightChanges& changes) {
  const auto source = open_safetensors(file);
  WeightReader reader(model, *source, changes);
  Values values;
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    values.emplace_back();
    for (std::size_t i = 0; i < model.blocks[block]->parameters().size(); ++i)
      values.back().push_back(reader.read(block, i));
  }
  return values;
}

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

/// Of parameters by name.
std::map<std::string, double> rates_of(const Model& model) {
  std::map<std::string, double> rates;
  for (const auto& block : model.blocks) {
    for (const Parameter& parameter : block->parameters()) rates[parameter.name] = parameter.rate;
  }
  return rates;
}

TEST(Positions, AreInterpolatedAsTorchvisionDoes) {
  const NamedTensors reference = read_safetensors(kData + "positions.reference.safetensors");
  EXPECT_EQ(side_of_positions(reference.at("positions")), 3);
  for (const std::int64_t side : {2, 7}) {
    const at::Tensor made = interpolated_positions(reference.at("positions"), side);
    EXPECT_TRUE(made.allclose(reference.at("positions." + std::to_string(side)), 1e-12, 1e-12)) << side;
  }
}

TEST(Positions, OfImagesOfAnotherSizeAreReadWhereThatIsAskedFor) {
  const Model larger = vit(5, 12);
  const Values read_there = read(larger, kData + "vit.weights.safetensors", {.image_size = true});
  const ParameterPlace place = larger.owner_of("encoder.pos_embedding");
  const at::Tensor& positions = read_there[place.block][place.parameter];
  EXPECT_EQ(positions.size(1), 1 + 3 * 3);
  EXPECT_TRUE(positions.narrow(1, 0, 1).equal(
      read_safetensors(kData + "vit.weights.safetensors").at("encoder.pos_embedding").narrow(1, 0, 1)));
  EXPECT_THAT(error_of([&] { read(larger, kData + "vit.weights.safetensors", {}); }),
              AllOf(HasSubstr("encoder.pos_embedding has shape [1, 5, 12], the model needs [1, 10, 12]"),
                    HasSubstr("lshdp train --init interpolates it")));
}

TEST(NewHead, IsDrawnFromTheSeedAndAllElseIsRead) {
  const Model other = vit(7, 8), same = vit(5, 8);
  const Values tuned = read(other, kData + "vit.weights.safetensors", {.new_head = true, .seed = 3});
  const Values whole = read_weights(same, kData + "vit.weights.safetensors");
  const std::vector<std::string> head = classification_head(other);
  EXPECT_THAT(head, testing::ElementsAre("heads.head.weight", "heads.head.bias"));
  for (std::size_t block = 0; block < other.blocks.size(); ++block) {
    for (std::size_t i = 0; i < tuned[block].size(); ++i) {
      const Parameter& parameter = other.blocks[block]->parameters()[i];
      const bool fresh = std::ranges::find(head, parameter.name) != head.end();
      EXPECT_TRUE(tuned[block][i].equal(fresh ? initial_value(parameter, 3) : whole[block][i])) << parameter.name;
    }
  }
}

TEST(NewHead, IsTheRemedyForWeightsOfAnotherNumberOfClasses) {
  EXPECT_THAT(error_of([] { read(vit(7, 8), kData + "vit.weights.safetensors", {}); }),
              AllOf(HasSubstr("heads.head.weight has shape [5, 12], the model needs [7, 12]"),
                    HasSubstr("the head of 5 classes, not 7; lshdp train --new-head")));
}

TEST(NewHead, NeedsNoneInTheWeights) {
  const lshdp::test::TemporaryDirectory folder;
  NamedTensors tensors = read_safetensors(kData + "vit.weights.safetensors");
  tensors.erase("heads.head.weight");
  tensors.erase("heads.head.bias");
  const std::string file = folder / "w.safetensors";
  write_safetensors(file, {tensors.begin(), tensors.end()});
  EXPECT_EQ(read(vit(7, 8), file, {.new_head = true}).back().back().size(0), 7);
  EXPECT_THAT(error_of([&] { read(vit(7, 8), file, {}); }), HasSubstr("heads.head.weight is missing"));
}

TEST(NewHead, IsRefusedOfModelsWithoutOneAndWhereItWouldStayAsItIsDrawn) {
  EXPECT_THAT(error_of([] { require_new_head(gpt()); }), HasSubstr("--new-head: gpt2 has no head of classes"));
  EXPECT_THAT(error_of([] { require_new_head(with_frozen(vit(7, 8), {"heads.*"}, "--freeze")); }),
              HasSubstr("--freeze: heads.head.weight is fresh"));
  EXPECT_EQ(error_of([] { require_new_head(vit(7, 8)); }), "no error");
}

TEST(Frozen, AreTheParametersThatAPatternMatches) {
  const Model model = with_frozen(vit(5, 8), {"conv_proj.*", "*.encoder_layer_?.mlp.0.weight"}, "--freeze");
  for (const auto& block : model.blocks) {
    for (const Parameter& parameter : block->parameters()) {
      const bool frozen = parameter.name.starts_with("conv_proj.") || parameter.name.ends_with(".mlp.0.weight");
      EXPECT_EQ(parameter.trainable, !frozen) << parameter.name;
    }
  }
  const Model again = make_model_from_json(model.description, "again");
  EXPECT_EQ(again.trained_count(), model.trained_count());
  EXPECT_THAT(frozen_patterns(again), testing::ElementsAre("conv_proj.*", "*.encoder_layer_?.mlp.0.weight"));
  EXPECT_FALSE(config_of(model, at::kFloat).contains(kFreezeKey));
}

TEST(Frozen, AreRefusedWhereNothingIsMeantOrNothingIsLeft) {
  EXPECT_THAT(error_of([] { with_frozen(vit(5, 8), {"encoder.layer.*"}, "--freeze"); }),
              AllOf(HasSubstr("--freeze: 'encoder.layer.*' matches no parameter of vit"),
                    HasSubstr("did you mean encoder.layers.*?")));
  EXPECT_THAT(error_of([] {
                with_frozen(vit(5, 8), {"heads.*", "*"}, "--freeze");
              }),
              HasSubstr("nothing is left to train"));
  const LoraSettings lora = parse_lora("r=2,targets=c_attn");
  EXPECT_THAT(error_of([&] { with_frozen(with_lora(gpt(), lora, "--lora"), {"*.lora_A.*"}, "--freeze"); }),
              HasSubstr("the adapters alone are trained"));
}

TEST(LayerDecay, FallsFromTheHeadToTheEmbeddingsAsInBeit) {
  const auto vit_rates = rates_of(with_layer_decay(vit(5, 8), 0.5));
  EXPECT_THAT(vit_rates.at("heads.head.bias"), DoubleEq(1));
  EXPECT_THAT(vit_rates.at("encoder.ln.weight"), DoubleEq(1));
  EXPECT_THAT(vit_rates.at("encoder.layers.encoder_layer_1.mlp.0.weight"), DoubleEq(0.5));
  EXPECT_THAT(vit_rates.at("encoder.layers.encoder_layer_0.ln_1.weight"), DoubleEq(0.25));
  EXPECT_THAT(vit_rates.at("encoder.pos_embedding"), DoubleEq(0.125));
  const auto gpt_rates = rates_of(with_layer_decay(gpt(), 0.5));
  EXPECT_THAT(gpt_rates.at("transformer.ln_f.weight"), DoubleEq(1));
  EXPECT_THAT(gpt_rates.at("transformer.h.1.attn.c_attn.weight"), DoubleEq(0.5));
  EXPECT_THAT(gpt_rates.at("transformer.wte.weight"), DoubleEq(0.125));
  EXPECT_THAT(error_of([] { with_layer_decay(make_model(kData + "mlp.json"), 0.5); }), HasSubstr("--layer-decay"));
}

TEST(Dropout, OfAVitIsThatOfItsSamplesAndOfTrainingAlone) {
  const Model plain = vit(5, 8), dropping = with_dropout(plain, 0.3, 0);
  const Values values = read_weights(plain, kData + "vit.weights.safetensors");
  const at::Tensor input = read_safetensors(kData + "vit.reference.safetensors").at("input");
  for (std::size_t block = 0; block + 1 < plain.blocks.size(); ++block) {
    const at::Tensor x = block == 0 ? input : at::ones({3, 5, 12}, at::kDouble);
    const Block& of = *dropping.blocks[block];
    EXPECT_TRUE(of.forward(x, values[block]).equal(plain.blocks[block]->forward(x, values[block])));
    const Pass pass{.dropout = DropoutKey{.seed = 1, .step = 2, .first_sample = 10}};
    const Pass later{.dropout = DropoutKey{.seed = 1, .step = 2, .first_sample = 12}};
    const at::Tensor all = of.forward(x, values[block], pass),
                     last = of.forward(x.narrow(0, 2, 1), values[block], later);
    EXPECT_FALSE(all.allclose(plain.blocks[block]->forward(x, values[block]))) << block;
    EXPECT_TRUE(all.narrow(0, 2, 1).allclose(last, 1e-12, 1e-12)) << block;
  }
  EXPECT_FALSE(config_of(dropping, at::kFloat).contains(kDropoutKey));
}

TEST(StochasticDepth, DropsWholeBranchesOfSamplesLessInEarlierLayers) {
  const Model model = with_dropout(vit(5, 8), 0, 0.5);
  const Values values = read_weights(model, kData + "vit.weights.safetensors");
  const at::Tensor x = at::ones({64, 5, 12}, at::kDouble);
  const Pass pass{.dropout = DropoutKey{}};
  const at::Tensor first = model.blocks[1]->forward(x, values[1], pass) - x;  // attention 0
  EXPECT_TRUE(first.allclose(model.blocks[1]->forward(x, values[1]) - x));
  const at::Tensor whole = model.blocks[4]->forward(x, values[4]) - x;  // mlp 1
  const at::Tensor last = model.blocks[4]->forward(x, values[4], pass) - x;
  std::int64_t dropped = 0;
  for (std::int64_t sample = 0; sample < 64; ++sample) {
    const bool none = last[sample].abs().max().item<double>() == 0;
    dropped += none ? 1 : 0;
    EXPECT_TRUE(none || last[sample].allclose(2 * whole[sample], 1e-9, 1e-12)) << sample;
  }
  EXPECT_GT(dropped, 16);
  EXPECT_LT(dropped, 48);
  EXPECT_THAT(error_of([] { with_dropout(gpt(), 0, 0.1); }), HasSubstr("--stochastic-depth"));
}

}  // namespace
}  // namespace lshdp::model
