// Models from presets and descriptions: sizes, names, and one clear line for every wrong description.
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/model/model.h"
#include "support/temporary_directory.h"

namespace lshdp::model {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const Parameter* find(const Model& model, const std::string& name) {
  for (const auto& block : model.blocks) {
    for (const Parameter& parameter : block->parameters()) {
      if (parameter.name == name) return &parameter;
    }
  }
  return nullptr;
}

std::string error_of(const nlohmann::json& description) {
  try {
    make_model_from_json(description, "m");
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

nlohmann::json small_vit() {
  return {{"type", "vit"},  {"image_size", 28}, {"channels", 1}, {"patch_size", 4},  {"num_layers", 2},
          {"num_heads", 4}, {"hidden_dim", 32}, {"mlp_dim", 64}, {"num_classes", 10}};
}

nlohmann::json small_gpt() {
  return {{"type", "gpt2"}, {"n_layer", 2}, {"n_head", 2}, {"n_embd", 16}, {"n_positions", 8}, {"vocab_size", 11}};
}

nlohmann::json small_mlp() {
  return {{"type", "mlp"}, {"input_size", 6}, {"hidden_sizes", {5, 4}}, {"output_size", 3}};
}

class PresetSize : public testing::TestWithParam<std::pair<const char*, std::int64_t>> {};

TEST_P(PresetSize, IsThatOfTheOriginal) {
  const auto [name, count] = GetParam();
  EXPECT_EQ(make_model(name).parameter_count(), count);
}

INSTANTIATE_TEST_SUITE_P(AllPresets, PresetSize,
                         testing::Values(std::pair{"vit_b_16", 86'567'656}, std::pair{"vit_b_32", 88'224'232},
                                         std::pair{"vit_l_16", 304'326'632}, std::pair{"vit_l_32", 306'535'400},
                                         std::pair{"vit_h_14", 632'045'800}, std::pair{"gpt2", 124'439'808},
                                         std::pair{"gpt2-medium", 354'823'168}, std::pair{"gpt2-large", 774'030'080},
                                         std::pair{"gpt2-xl", 1'557'611'200}, std::pair{"llama-3.2-1b", 1'235'814'400},
                                         std::pair{"llama-3.2-3b", 3'212'749'824},
                                         std::pair{"llama-3.1-8b", 8'030'261'248},
                                         std::pair{"llama-2-7b", 6'738'415'616}, std::pair{"qwen2.5-0.5b", 494'032'768},
                                         std::pair{"mlp", 567'434}));

TEST(Preset, EveryNameMakesAModelOfThatNameAndADescriptionThatMakesItAgain) {
  for (const std::string& name : preset_names()) {
    const Model model = make_model(name);
    EXPECT_EQ(model.name, name);
    const Model again = make_model_from_json(model.description, name);
    EXPECT_EQ(again.description, model.description);
    EXPECT_EQ(again.parameter_count(), model.parameter_count());
  }
}

TEST(Preset, AnUnknownNameIsRefusedWithTheListAndTheWayOut) {
  try {
    make_model("vit_b_17");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("vit_b_17"), HasSubstr("vit_h_14"), HasSubstr("gpt2-xl"), HasSubstr("JSON")));
  }
}

TEST(Vit, HasTorchvisionsNamesAndShapes) {
  const Model model = make_model("vit_b_16");
  ASSERT_EQ(model.blocks.size(), 26U);
  EXPECT_EQ(model.blocks.front()->name(), "embedding");
  EXPECT_EQ(model.blocks[3]->name(), "attention 1");
  EXPECT_EQ(model.blocks[4]->name(), "mlp 1");
  EXPECT_EQ(model.blocks.back()->name(), "head");
  EXPECT_THAT(find(model, "conv_proj.weight")->shape, ElementsAre(768, 3, 16, 16));
  EXPECT_THAT(find(model, "class_token")->shape, ElementsAre(1, 1, 768));
  EXPECT_THAT(find(model, "encoder.pos_embedding")->shape, ElementsAre(1, 197, 768));
  EXPECT_THAT(find(model, "encoder.layers.encoder_layer_11.self_attention.in_proj_weight")->shape,
              ElementsAre(2304, 768));
  EXPECT_THAT(find(model, "encoder.layers.encoder_layer_0.mlp.3.weight")->shape, ElementsAre(768, 3072));
  EXPECT_THAT(find(model, "heads.head.weight")->shape, ElementsAre(1000, 768));
  EXPECT_EQ(model.input.kind, InputSpec::Kind::image);
  EXPECT_EQ(model.input.classes, 1000);
  EXPECT_EQ(model.terms_per_sample(), 1);
}

TEST(Gpt2, HasHuggingFacesNamesAndOrientationsAndATiedHead) {
  const Model model = make_model("gpt2");
  ASSERT_EQ(model.blocks.size(), 26U);
  EXPECT_THAT(find(model, "transformer.wte.weight")->shape, ElementsAre(50257, 768));
  EXPECT_THAT(find(model, "transformer.wpe.weight")->shape, ElementsAre(1024, 768));
  EXPECT_THAT(find(model, "transformer.h.11.attn.c_attn.weight")->shape, ElementsAre(768, 2304));
  EXPECT_THAT(find(model, "transformer.h.0.mlp.c_fc.weight")->shape, ElementsAre(768, 3072));
  EXPECT_THAT(find(model, "transformer.ln_f.bias")->shape, ElementsAre(768));
  const auto& borrowed = model.blocks.back()->borrowed();
  ASSERT_EQ(borrowed.size(), 1U);
  EXPECT_EQ(borrowed[0], "transformer.wte.weight");
  EXPECT_EQ(model.owner_of(borrowed[0]), (ParameterPlace{0, 0}));
  EXPECT_THROW(model.owner_of("transformer.wte"), std::out_of_range);
  EXPECT_EQ(model.terms_per_sample(), 1024);
}

TEST(Model, ParameterNamesAreUniqueAndOnlyVectorsDoNotDecay) {
  for (const auto& description : {small_vit(), small_gpt(), small_mlp()}) {
    std::set<std::string> names;
    const Model model = make_model_from_json(description, "m");
    for (const auto& block : model.blocks) {
      for (const Parameter& parameter : block->parameters()) {
        EXPECT_TRUE(names.insert(parameter.name).second) << parameter.name;
        EXPECT_EQ(parameter.decay, parameter.shape.size() > 1) << parameter.name;
      }
    }
  }
}

TEST(Description, MissingUnknownAndMistypedKeysAreNamed) {
  auto missing = small_vit();
  missing.erase("mlp_dim");
  EXPECT_EQ(error_of(missing), "model 'm': \"mlp_dim\" is missing");
  auto unknown = small_vit();
  unknown["hiden_dim"] = 3;
  EXPECT_THAT(error_of(unknown), AllOf(HasSubstr("\"hiden_dim\" is not known"), HasSubstr("hidden_dim, ")));
  auto text = small_vit();
  text["num_layers"] = "two";
  EXPECT_EQ(error_of(text), "model 'm': \"num_layers\" must be a whole number");
  auto fraction = small_gpt();
  fraction["n_embd"] = 16.5;
  EXPECT_EQ(error_of(fraction), "model 'm': \"n_embd\" must be a whole number");
  auto list = small_mlp();
  list["hidden_sizes"] = {5, 4.5};
  EXPECT_THAT(error_of(list), HasSubstr("\"hidden_sizes\" must be a list of whole numbers"));
  list["hidden_sizes"] = 5;
  EXPECT_THAT(error_of(list), HasSubstr("\"hidden_sizes\" must be a list of whole numbers"));
}

TEST(Description, SizesThatAreNotPositiveOrAbsurdAreRefused) {
  for (const std::int64_t size : {std::int64_t{0}, std::int64_t{-4}, std::int64_t{1} << 40}) {
    auto vit = small_vit();
    vit["hidden_dim"] = size;
    EXPECT_THAT(error_of(vit), HasSubstr("\"hidden_dim\" must be a whole number from 1 to"));
    auto mlp = small_mlp();
    mlp["hidden_sizes"] = {5, size};
    EXPECT_THAT(error_of(mlp), HasSubstr("\"hidden_sizes\" must be a whole number from 1 to"));
  }
  auto vit = small_vit();
  vit["hidden_dim"] = 18'446'744'073'709'551'612U;
  EXPECT_THAT(error_of(vit), HasSubstr("\"hidden_dim\" is out of range"));
}

TEST(Description, SizesThatDoNotFitEachOtherAreRefused) {
  auto patches = small_vit();
  patches["patch_size"] = 5;
  EXPECT_EQ(error_of(patches), "model 'm': \"image_size\" (28) must be a multiple of \"patch_size\" (5)");
  auto heads = small_gpt();
  heads["n_head"] = 3;
  EXPECT_EQ(error_of(heads), "model 'm': \"n_embd\" (16) must be a multiple of \"n_head\" (3)");
}

TEST(Description, OtherVariantsAreRefusedWithTheRemedy) {
  auto gpt = small_gpt();
  gpt["activation_function"] = "relu";
  EXPECT_THAT(error_of(gpt), HasSubstr("set it to \"gelu_new\""));
  auto vit = small_vit();
  vit["representation_size"] = 16;
  EXPECT_THAT(error_of(vit), HasSubstr("\"representation_size\" is 16, which is not supported"));
}

TEST(Description, DropoutIsTakenAndTold) {
  auto vit = small_vit();
  vit.update({{"dropout", 0.0}, {"attention_dropout", 0.25}});
  const Model model = make_model_from_json(vit, "m");
  EXPECT_THAT(model.dropout, ElementsAre("attention_dropout 0.25"));
  EXPECT_EQ(model.description, make_model_from_json(small_vit(), "m").description);
  auto gpt = small_gpt();
  gpt.update({{"resid_pdrop", 0.1}, {"embd_pdrop", 0.0}, {"attn_pdrop", 0.2}});
  EXPECT_THAT(make_model_from_json(gpt, "m").dropout, ElementsAre("resid_pdrop 0.1", "attn_pdrop 0.2"));
  gpt["attn_pdrop"] = 1.5;
  EXPECT_EQ(error_of(gpt), "model 'm': \"attn_pdrop\" must be at least 0 and below 1");
  gpt["attn_pdrop"] = "some";
  EXPECT_EQ(error_of(gpt), "model 'm': \"attn_pdrop\" must be a number");
}

// ACT2FN of transformers 5.24.0: within 1e-12 of torch's gelu(approximate="tanh") on [-6, 6]. "gelu" is 5e-4 away.
TEST(Description, EveryNameOfTheSameActivationIsTaken) {
  for (const char* name : {"gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"}) {
    auto gpt = small_gpt();
    gpt["activation_function"] = name;
    EXPECT_EQ(error_of(gpt), "no error") << name;
  }
  for (const char* name : {"gelu", "gelu_python", "quick_gelu"}) {
    auto gpt = small_gpt();
    gpt["activation_function"] = name;
    EXPECT_THAT(error_of(gpt), HasSubstr("is not supported")) << name;
  }
}

TEST(Description, AWrongOrMissingTypeIsRefused) {
  EXPECT_EQ(
      error_of({{"type", "lstm"}}),
      "model 'm': \"type\" is \"lstm\"; it must be \"vit\", \"gpt2\", \"llama\", \"qwen2\", \"mistral\" or \"mlp\"");
  EXPECT_EQ(error_of(nlohmann::json::object()), "model 'm': \"type\" is missing");
  EXPECT_EQ(error_of(nlohmann::json::array()), "model 'm': a model's description must be a JSON object");
  EXPECT_EQ(
      error_of({{"model_type", "bert"}}),
      "model 'm': \"type\" is \"bert\"; it must be \"vit\", \"gpt2\", \"llama\", \"qwen2\", \"mistral\" or \"mlp\"");
}

TEST(Description, AConfigFileOfHuggingFaceIsTakenWithWhatIsNotOfTheNetwork) {
  auto config = small_gpt();
  config.erase("type");
  config.update({{"model_type", "gpt2"},
                 {"architectures", {"GPT2LMHeadModel"}},
                 {"n_inner", nullptr},
                 {"resid_pdrop", 0.1},
                 {"activation_function", "gelu_new"},
                 {"bos_token_id", 10},
                 {"_num_labels", 1},
                 {"id2label", {{"0", "LABEL_0"}}},
                 {"label2id", {{"LABEL_0", 0}}},
                 {"pruned_heads", nlohmann::json::object()},
                 {"tie_word_embeddings", true}});
  const Model model = make_model_from_json(config, "m");
  EXPECT_EQ(model.description, make_model_from_json(small_gpt(), "m").description);
  EXPECT_THAT(model.dropout, ElementsAre("resid_pdrop 0.1"));
  config["pruned_heads"] = {{"0", {1}}};
  EXPECT_THAT(error_of(config), HasSubstr("\"pruned_heads\" is"));
  config.erase("pruned_heads");
  config["rotary_dim"] = 4;
  EXPECT_THAT(error_of(config), HasSubstr("\"rotary_dim\" is not known here"));
}

TEST(Description, HuggingFacesVitIsRefusedByName) {
  EXPECT_THAT(error_of({{"model_type", "vit"}, {"hidden_size", 16}}),
              AllOf(HasSubstr("Hugging Face's ViT"), HasSubstr("torchvision")));
}

TEST(Config, MakesTheSameModelAgain) {
  for (const auto& description : {small_vit(), small_gpt(), small_mlp()}) {
    const Model model = make_model_from_json(description, "m");
    const Model again = make_model_from_json(config_of(model, at::kFloat), "m");
    EXPECT_EQ(again.description, model.description);
    EXPECT_THAT(again.dropout, testing::IsEmpty());
  }
}

TEST(Config, HoldsTorchvisionsArgumentsOrWhatHuggingFaceReads) {
  EXPECT_FALSE(config_of(make_model("vit_b_16"), at::kFloat).contains("channels"));
  EXPECT_EQ(config_of(make_model_from_json(small_vit(), "grey"), at::kFloat).at("channels"), 1);
  const nlohmann::json gpt2 = config_of(make_model("gpt2"), at::kBFloat16);
  EXPECT_EQ(gpt2.at("model_type"), "gpt2");
  EXPECT_EQ(gpt2.at("architectures"), nlohmann::json({"GPT2LMHeadModel"}));
  EXPECT_EQ(gpt2.at("eos_token_id"), 50256);
  EXPECT_EQ(gpt2.at("torch_dtype"), "bfloat16");
  EXPECT_FALSE(gpt2.contains("type"));
  EXPECT_TRUE(config_of(make_model_from_json(small_gpt(), "m"), at::kFloat).at("eos_token_id").is_null());
}

TEST(ModelFolder, IsReadByItsConfigOrItsManifestAndGivesTheName) {
  const test::TemporaryDirectory folder;
  std::filesystem::create_directories(folder / "mine");
  write_file(folder / "mine/config.json", config_of(make_model_from_json(small_gpt(), "m"), at::kFloat).dump());
  EXPECT_EQ(make_model((folder / "mine").string()).name, "mine");
  EXPECT_EQ(make_model((folder / "mine/").string()).name, "mine");
  EXPECT_EQ(make_model((folder / "mine/config.json").string()).name, "mine");
  std::filesystem::create_directories(folder / "step-3");
  write_file(folder / "step-3/manifest.json", nlohmann::json{{"model", small_mlp()}}.dump());
  EXPECT_EQ(make_model((folder / "step-3").string()).parameter_count(), 74);
  std::filesystem::create_directories(folder / "empty");
  try {
    make_model((folder / "empty").string());
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("empty holds no config.json"));
  }
}

TEST(ModelFile, IsNamedAfterItsStemAndErrorsNameTheFile) {
  const test::TemporaryDirectory folder;
  write_file(folder / "tiny.json", small_vit().dump());
  EXPECT_EQ(make_model((folder / "tiny.json").string()).name, "tiny");
  write_file(folder / "cut.json", small_vit().dump().substr(0, 30));
  EXPECT_THROW(make_model((folder / "cut.json").string()), UsageError);
  try {
    make_model((folder / "absent.json").string());
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("absent.json"));
  }
}

}  // namespace
}  // namespace lshdp::model
