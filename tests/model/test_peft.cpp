// Adapters that PEFT saved give PEFT's logits, gradients and losses here, and are written as it writes them.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/model/peft.h"
#include "lshdp/model/safetensors.h"
#include "model/run_model.h"
#include "support/temporary_directory.h"

namespace lshdp::model {
namespace {

using testing::HasSubstr;

class SavedByPeft : public testing::TestWithParam<const char*> {
 protected:
  const std::filesystem::path folder_ = std::filesystem::path(LSHDP_TEST_DATA) / GetParam();
  const Json config_ = read_json(folder_ / kAdapterConfigFile);
  const LoraSettings settings_ = read_adapter_config(config_, "config");
  const Model base_ = make_model((folder_ / "base.json").string());
  const Model model_ = with_lora(make_model((folder_ / "base.json").string()), settings_, "test");
  const NamedTensors expected_ = read_safetensors(folder_ / "reference.safetensors");

  Values values() const {
    Values values = read_weights(base_, folder_ / "base" / "model.safetensors");
    const auto tensors = open_adapter_tensors(folder_ / kAdapterFile);
    const Values adapter = read_adapter(model_, *tensors);
    for (std::size_t block = 0; block < values.size(); ++block)
      values[block].insert(values[block].end(),
                           adapter[block].begin() + static_cast<std::ptrdiff_t>(values[block].size()),
                           adapter[block].end());
    return test::leaves(values, at::kDouble);
  }
};

// Another order of some hundred terms in float64; transformers takes Llama's angles in float32.
double tolerance(const std::string& folder) { return folder == "lora_llama" ? 1e-5 : 1e-11; }

TEST_P(SavedByPeft, GiveItsLogits) {
  EXPECT_LT(test::relative_difference(test::logits_of(model_, values(), expected_.at("input")), expected_.at("logits")),
            tolerance(GetParam()));
}

TEST_P(SavedByPeft, GiveItsGradients) {
  const Values leaves = values();
  const at::Tensor loss =
      summed_cross_entropy(test::logits_of(model_, leaves, expected_.at("input")), expected_.at("target"), 0);
  const std::vector<at::Tensor> gradients = test::gradients_of(loss, leaves);
  std::size_t k = 0, compared = 0;
  for (const auto& block : model_.blocks) {
    for (const Parameter& parameter : block->parameters()) {
      const at::Tensor& gradient = gradients[k++];
      if (!parameter.trainable) continue;
      EXPECT_LT(test::relative_difference(gradient, expected_.at("grad." + peft_name(parameter.name))),
                tolerance(GetParam()))
          << parameter.name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, read_safetensors(folder_ / kAdapterFile).size());
}

TEST_P(SavedByPeft, AreDescribedAsPeftDescribesThem) {
  const Json ours = adapter_config(model_, "");
  for (const char* key : {"peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "bias", "fan_in_fan_out",
                          "use_rslora", "use_dora", "modules_to_save", "rank_pattern", "alpha_pattern"})
    EXPECT_EQ(ours.at(key), config_.at(key)) << key;
  const auto targets = [](const Json& config) {
    auto list = config.at("target_modules").get<std::vector<std::string>>();
    std::ranges::sort(list);
    return list;
  };
  EXPECT_EQ(targets(ours), targets(config_));
  EXPECT_EQ(read_adapter_config(ours, "ours").scale(), settings_.scale());
}

TEST_P(SavedByPeft, AreWrittenUnderItsNames) {
  const NamedTensors saved = read_safetensors(folder_ / kAdapterFile);
  const std::vector<TensorShape> shapes = adapter_shapes(model_, at::kDouble);
  EXPECT_EQ(shapes.size(), saved.size());
  for (const TensorShape& shape : shapes) {
    ASSERT_TRUE(saved.contains(shape.name)) << shape.name;
    EXPECT_EQ(saved.at(shape.name).sizes(), at::IntArrayRef(shape.shape));
  }
}

INSTANTIATE_TEST_SUITE_P(All, SavedByPeft, testing::Values("lora_gpt2", "lora_llama", "lora_vit"));

/// "c_proj" alone would be that of the MLP as well.
TEST(AdapterConfig, NamesNoLayersButThoseThatAreAdapted) {
  const Model gpt = with_lora(make_model_from_json(test::kSmallGpt, "small"),
                              {.rank = 2, .alpha = 2, .targets = {"attn.c_proj"}}, "test");
  const LoraSettings read = read_adapter_config(adapter_config(gpt, ""), "config");
  EXPECT_THAT(read.targets, testing::ElementsAre("transformer.h.0.attn.c_proj", "transformer.h.1.attn.c_proj"));
  EXPECT_EQ(targets_of(base_of(gpt), read, "test").size(), 2);
}

class Refused : public testing::Test {
 protected:
  Json config_ = read_json(std::filesystem::path(LSHDP_TEST_DATA) / "lora_gpt2" / kAdapterConfigFile);
  std::string refusal() const {
    try {
      read_adapter_config(config_, "adapter_config.json");
    } catch (const UsageError& error) {
      return error.what();
    }
    return "nothing was refused";
  }
};

TEST_F(Refused, IsEveryFieldThatWouldChangeTheModel) {
  const Json plain = config_;
  const std::vector<std::pair<const char*, Json>> changes{
      {"use_dora", true},          {"rank_pattern", {{"c_attn", 8}}},   {"alpha_pattern", {{"c_attn", 8}}},
      {"bias", "lora_only"},       {"modules_to_save", {"lm_head"}},    {"layers_to_transform", {0}},
      {"lora_bias", true},         {"init_lora_weights", "pissa"},      {"exclude_modules", {"c_proj"}},
      {"unheard_of", "something"}, {"trainable_token_indices", {1, 2}}, {"layer_replication", {{0, 1}}}};
  for (const auto& [key, value] : changes) {
    config_ = plain;
    config_[key] = value;
    EXPECT_THAT(refusal(), HasSubstr(key)) << key;
  }
}

TEST_F(Refused, ArePatternsAndOtherKinds) {
  config_["target_modules"] = ".*c_attn";
  EXPECT_THAT(refusal(), HasSubstr("target_modules"));
  config_["peft_type"] = "IA3";
  EXPECT_THAT(refusal(), HasSubstr("is \"IA3\"; lshdp knows LORA"));
}

class Tensors : public testing::Test {
 protected:
  const std::filesystem::path data_ = std::filesystem::path(LSHDP_TEST_DATA) / "lora_gpt2";
  const Model model_ = with_lora(make_model((data_ / "base.json").string()),
                                 read_adapter_config(read_json(data_ / kAdapterConfigFile), "config"), "test");
  NamedTensors saved_ = read_safetensors(data_ / kAdapterFile);
  const lshdp::test::TemporaryDirectory folder_;

  std::string refusal() {
    const std::filesystem::path file = folder_.path() / kAdapterFile;
    write_safetensors(file, {saved_.begin(), saved_.end()});
    try {
      const auto tensors = open_adapter_tensors(file);
      read_adapter(model_, *tensors);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "nothing was refused";
  }
};

TEST_F(Tensors, OfAnotherModelOrUnderOtherNamesAreRefused) {
  const NamedTensors plain = saved_;
  const auto [name, value] = *plain.begin();
  EXPECT_EQ(refusal(), "nothing was refused");
  saved_.erase(name);
  EXPECT_THAT(refusal(), HasSubstr(name + " is missing"));
  saved_[name.substr(std::string("base_model.model.").size())] = value;
  EXPECT_THAT(refusal(), HasSubstr("does not begin with base_model.model."));
  saved_ = plain;
  saved_[name] = value.t().contiguous();
  EXPECT_THAT(refusal(), HasSubstr("has shape"));
  saved_[name] = value / 0.0;
  EXPECT_THAT(refusal(), HasSubstr("is not finite"));
  saved_ = plain;
  saved_["base_model.model.transformer.h.7.attn.c_attn.lora_A.weight"] = value;
  EXPECT_THAT(refusal(), HasSubstr("belongs to no layer"));
}

}  // namespace
}  // namespace lshdp::model
