// Adapters: settings, targets, what they add, and dropout that no split changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lshdp/core/error.h"
#include "lshdp/model/lora.h"
#include "lshdp/model/trained_part.h"
#include "model/run_model.h"

namespace lshdp::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Model small(const nlohmann::json& description) { return make_model_from_json(description, "small"); }

template <typename F>
std::string refusal_of(F f) {
  try {
    f();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "nothing was refused";
}

TEST(LoraSettings, AreReadFromOneText) {
  const LoraSettings settings = parse_lora("r=16,alpha=32,dropout=0.05,targets=q_proj,v_proj,rslora=true");
  EXPECT_EQ(settings.rank, 16);
  EXPECT_EQ(settings.alpha, 32);
  EXPECT_EQ(settings.dropout, 0.05);
  EXPECT_TRUE(settings.rank_stabilized);
  EXPECT_THAT(settings.targets, ElementsAre("q_proj", "v_proj"));
  EXPECT_EQ(settings.scale(), 8);
  EXPECT_EQ(lora_from_json(to_json(settings), "json"), settings);
  EXPECT_EQ(parse_lora("r=4,targets=c_attn").scale(), 1);
}

TEST(LoraSettings, RefuseWhatTheyDoNotKnow) {
  const auto refusal = [](const char* text) { return refusal_of([&] { parse_lora(text); }); };
  EXPECT_THAT(refusal("r=4,target=c_attn"), HasSubstr("'target' is no key"));
  EXPECT_THAT(refusal("r=4,targets=c_attn,r=5"), HasSubstr("r is given twice"));
  EXPECT_THAT(refusal("r=0,targets=c_attn"), HasSubstr("r is missing, or 0"));
  EXPECT_THAT(refusal("r=4"), HasSubstr("targets is missing"));
  EXPECT_THAT(refusal("r=4,8,targets=c_attn"), HasSubstr("'8' is no key=value"));
  EXPECT_THAT(refusal("r=4,dropout=1,targets=c_attn"), HasSubstr("dropout is 1"));
  EXPECT_THAT(refusal("r=4,alpha=-1,targets=c_attn"), HasSubstr("alpha is -1"));
  EXPECT_THAT(refusal("r=4,rslora=yes,targets=c_attn"), HasSubstr("must be true or false"));
}

std::vector<std::string> names_of(const Model& model, std::vector<std::string> targets) {
  std::vector<std::string> names;
  for (const LinearLayer& layer : targets_of(model, {.rank = 1, .alpha = 1, .targets = std::move(targets)}, "test"))
    names.push_back(layer.name);
  return names;
}

TEST(Targets, AreFoundByTheEndsOfNames) {
  const Model gpt = small(test::kSmallGpt), vit = small(test::kSmallVit), mlp = small(test::kSmallMlp);
  EXPECT_THAT(names_of(gpt, {"attn.c_proj"}),
              ElementsAre("transformer.h.0.attn.c_proj", "transformer.h.1.attn.c_proj"));
  EXPECT_EQ(names_of(gpt, {"c_proj"}).size(), 4);
  EXPECT_EQ(names_of(gpt, {"all-linear"}).size(), 8);
  EXPECT_THAT(names_of(vit, {"in_proj"}), ElementsAre("encoder.layers.encoder_layer_0.self_attention.in_proj",
                                                      "encoder.layers.encoder_layer_1.self_attention.in_proj"));
  EXPECT_EQ(names_of(vit, {"all-linear"}).size(), 8);
  EXPECT_THAT(names_of(mlp, {"all-linear"}), ElementsAre("layers.0", "layers.1"));
}

TEST(Targets, ThatAreNoLinearLayersAreRefusedWithThoseThatAre) {
  const Model gpt = small(test::kSmallGpt);
  const auto refusal = [&](const char* target) { return refusal_of([&] { names_of(gpt, {target}); }); };
  EXPECT_THAT(refusal("wte"), HasSubstr("'wte' is no linear layer; small has the linear layers c_attn, c_proj, c_fc"));
  EXPECT_THAT(refusal("c_atn"), HasSubstr("no layer 'c_atn'; its linear layers are c_attn, c_proj, c_fc"));
  EXPECT_THAT(refusal("proj"), HasSubstr("no layer 'proj'"));
  const Model vit = small(test::kSmallVit);
  EXPECT_THAT(refusal_of([&] { names_of(vit, {"self_attention"}); }),
              HasSubstr("in_proj, out_proj, mlp.0, mlp.3, head"));
}

class EachModel : public testing::TestWithParam<nlohmann::json> {
 protected:
  const LoraSettings settings_{.rank = 3, .alpha = 6, .dropout = 0, .targets = {"all-linear"}};
  const Model base_ = small(GetParam());
  const Model adapted_ = with_lora(small(GetParam()), settings_, "test");
  const SyntheticBatch batch_ = synthetic_batch(base_.input, 4, 11);

  at::Tensor input() const { return batch_.input.is_floating_point() ? batch_.input.to(at::kDouble) : batch_.input; }
  /// Every B begins at zero, and hides what it is multiplied with.
  Values drawn_values() const {
    Values values = test::leaves(initial_values(adapted_, 5), at::kDouble);
    for (auto& block : values) {
      for (at::Tensor& value : block) value = (value.detach() + at::randn_like(value) * 0.1).requires_grad_();
    }
    return values;
  }
};

TEST_P(EachModel, BeginsAsItsBase) {
  const at::Tensor plain = test::logits_of(base_, test::leaves(initial_values(base_, 5), at::kDouble), input());
  const at::Tensor adapted = test::logits_of(adapted_, test::leaves(initial_values(adapted_, 5), at::kDouble), input());
  EXPECT_TRUE(adapted.equal(plain));
}

TEST_P(EachModel, IsTheBaseWithItsChangeAddedToTheWeights) {
  const Values values = drawn_values();
  Values merged(base_.blocks.size());
  for (std::size_t block = 0; block < base_.blocks.size(); ++block) {
    const std::size_t own = base_.blocks[block]->parameters().size();
    merged[block].assign(values[block].begin(), values[block].begin() + static_cast<std::ptrdiff_t>(own));
    std::size_t next = own;
    for (const LinearLayer& layer : targets_of(base_, settings_, "test")) {
      if (layer.weight.block != block) continue;
      at::Tensor& weight = merged[block][layer.weight.parameter];
      weight = weight + weight_change(values[block][next], values[block][next + 1], settings_, layer.product);
      next += 2;
    }
  }
  EXPECT_LT(
      test::relative_difference(test::logits_of(adapted_, values, input()), test::logits_of(base_, merged, input())),
      1e-12);
}

TEST_P(EachModel, TrainsItsAdaptersAlone) {
  const Model part = trained_part(adapted_);
  std::int64_t count = 0;
  for (const LinearLayer& layer : targets_of(base_, settings_, "test")) count += 3 * (layer.in + layer.out);
  EXPECT_EQ(part.parameter_count(), count);
  EXPECT_EQ(adapted_.trained_count(), count);
  EXPECT_EQ(adapted_.parameter_count(), base_.parameter_count() + count);
  EXPECT_EQ(base_of(adapted_).description, base_.description);
}

TEST_P(EachModel, IsMadeAgainByItsDescription) {
  const Model again = make_model_from_json(adapted_.description, "again");
  ASSERT_EQ(again.blocks.size(), adapted_.blocks.size());
  for (std::size_t block = 0; block < again.blocks.size(); ++block) {
    const auto &here = again.blocks[block]->parameters(), &there = adapted_.blocks[block]->parameters();
    ASSERT_EQ(here.size(), there.size());
    for (std::size_t i = 0; i < here.size(); ++i) {
      EXPECT_EQ(here[i].name, there[i].name);
      EXPECT_EQ(here[i].trainable, there[i].trainable);
    }
  }
  EXPECT_EQ(lora_of(again), settings_);
  EXPECT_THROW(with_lora(make_model_from_json(adapted_.description, "again"), settings_, "test"), UsageError);
}

INSTANTIATE_TEST_SUITE_P(All, EachModel,
                         testing::Values(test::kSmallGpt, test::kSmallVit, test::kSmallMlp, test::kSmallLlama,
                                         test::kSmallQwen));

/// Of the model's last block, which is linear and has an adapter with dropout.
at::Tensor dropped(const at::Tensor& input, const std::optional<DropoutKey>& key) {
  const Model model =
      with_lora(small(test::kSmallMlp), {.rank = 4, .alpha = 4, .dropout = 0.5, .targets = {"layers.2"}}, "test");
  Values values = initial_values(model, 3);
  values[2][3] = at::ones_like(values[2][3]);
  return model.blocks[2]->forward(input, test::parameters_of(model, values, 2), {.dropout = key});
}

TEST(Dropout, IsThatOfEachSampleHoweverTheBatchIsSplit) {
  const at::Tensor input = at::rand({6, 6});
  const at::Tensor whole = dropped(input, DropoutKey{.seed = 1, .step = 2, .first_sample = 10});
  const at::Tensor last = dropped(input.narrow(0, 4, 2), DropoutKey{.seed = 1, .step = 2, .first_sample = 14});
  EXPECT_TRUE(whole.narrow(0, 4, 2).equal(last));
  EXPECT_FALSE(whole.equal(dropped(input, DropoutKey{.seed = 1, .step = 3, .first_sample = 10})));
  EXPECT_FALSE(whole.equal(dropped(input, DropoutKey{.seed = 2, .step = 2, .first_sample = 10})));
  EXPECT_FALSE(whole.equal(dropped(input, std::nullopt)));
}

TEST(Dropout, KeepsTheMean) {
  const at::Tensor input = at::ones({4000, 6});
  // A sample's output is a sum over 6 kept or dropped inputs, with a deviation of about 1: 0.02 of the mean of 4000.
  const at::Tensor kept = dropped(input, std::nullopt), drawn = dropped(input, DropoutKey{.seed = 5});
  EXPECT_LT((kept.mean(0) - drawn.mean(0)).abs().max().item<double>(), 0.1);
  EXPECT_GT((kept - drawn).abs().mean().item<double>(), 0.2);
}

}  // namespace
}  // namespace lshdp::model
