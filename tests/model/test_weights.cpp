// Weights of whole models: which files fit a model, and what is said about those that do not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/json.h"
#include "lshdp/model/safetensors.h"
#include "lshdp/model/shards.h"
#include "lshdp/model/weights.h"
#include "model/run_model.h"
#include "support/temporary_directory.h"

namespace lshdp::model {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class Weights : public testing::Test {
 protected:
  lshdp::test::TemporaryDirectory folder;
  std::filesystem::path path = folder / "w.safetensors";
  Model gpt = make_model_from_json(test::kSmallGpt, "small");
  Values values = initial_values(gpt, 3);

  NamedTensors named() const {
    NamedTensors tensors;
    for (std::size_t b = 0; b < values.size(); ++b) {
      for (std::size_t i = 0; i < values[b].size(); ++i) tensors[gpt.blocks[b]->parameters()[i].name] = values[b][i];
    }
    return tensors;
  }
  Values read(const NamedTensors& tensors) {
    write_safetensors(path, {tensors.begin(), tensors.end()});
    return read_weights(gpt, path);
  }
  std::string error_of(const NamedTensors& tensors) {
    try {
      read(tensors);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  }
  void expect_equal(const Values& actual) const {
    const std::vector<at::Tensor> a = test::flat(actual), b = test::flat(values);
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i])) << i;
  }
};

TEST_F(Weights, AreReadBackAsWritten) {
  write_weights(gpt, values, path);
  expect_equal(read_weights(gpt, path));
}

TEST_F(Weights, MayLackThePrefixOfHuggingFace) {
  NamedTensors bare;
  for (const auto& [name, tensor] : named()) bare[name.substr(std::string("transformer.").size())] = tensor;
  expect_equal(read(bare));
}

TEST_F(Weights, MayHoldTheTiedHeadAndMasks) {
  NamedTensors tensors = named();
  tensors["lm_head.weight"] = tensors.at("transformer.wte.weight");
  tensors["transformer.h.0.attn.bias"] = at::ones({1, 1, 6, 6}, at::kByte);
  tensors["h.1.attn.masked_bias"] = at::full({}, -1e4);
  expect_equal(read(tensors));
  tensors["lm_head.weight"] = tensors.at("transformer.wte.weight") + 1;
  EXPECT_THAT(error_of(tensors), HasSubstr("lm_head.weight differs from the embedding"));
}

TEST_F(Weights, MayHoldTheTiedHeadInAnotherTypeOfWhichTheWiderIsTaken) {
  NamedTensors tensors = named();
  const at::Tensor embedding = tensors.at("transformer.wte.weight");
  for (const auto type : {at::kHalf, at::kBFloat16}) {
    tensors["transformer.wte.weight"] = embedding;
    tensors["lm_head.weight"] = embedding.to(type);
    expect_equal(read(tensors));
    tensors["transformer.wte.weight"] = embedding.to(type);
    tensors["lm_head.weight"] = embedding;
    expect_equal(read(tensors));
    tensors["lm_head.weight"] = embedding * 1.02;
    EXPECT_THAT(error_of(tensors), HasSubstr("differs from the embedding"));
  }
}

TEST_F(Weights, MayHoldTheHeadAlone) {
  NamedTensors tensors = named();
  auto embedding = tensors.extract("transformer.wte.weight");
  embedding.key() = "lm_head.weight";
  tensors.insert(std::move(embedding));
  expect_equal(read(tensors));
}

TEST_F(Weights, MayHoldMasksOfAnyType) {
  for (const auto type : {at::kChar, at::kByte, at::kUInt16, at::kBool, at::kLong, at::kHalf}) {
    NamedTensors tensors = named();
    tensors["transformer.h.0.attn.bias"] = at::ones({1, 1, 6, 6}).to(type);
    expect_equal(read(tensors));
  }
}

TEST_F(Weights, MayStandBehindTheNamesOfWrappers) {
  for (const std::string wrapper :
       {"module.", "_orig_mod.", "module._orig_mod.", "_forward_module.module.", "model.", "base_model.model."}) {
    NamedTensors tensors;
    for (const auto& [name, tensor] : named()) tensors[wrapper + name] = tensor;
    expect_equal(read(tensors));
  }
  NamedTensors inside;
  for (const auto& [name, tensor] : named()) {
    const std::size_t at = name.find("attn.");
    inside[at == std::string::npos ? name : std::string(name).insert(at, "_fsdp_wrapped_module._orig_mod.")] = tensor;
  }
  expect_equal(read(inside));
}

TEST_F(Weights, OfAnUnknownWrapperOrAnAdapterAreRefusedWithTheRemedy) {
  NamedTensors tensors;
  for (const auto& [name, tensor] : named()) tensors["student.net." + name] = tensor;
  EXPECT_THAT(error_of(tensors), HasSubstr("transformer.wte.weight is missing, but student.net.transformer.wte.weight "
                                           "is there; take 'student.net.' off the names"));
  tensors = named();
  tensors["transformer.h.0.attn.c_attn.lora_A.weight"] = at::ones({4, 16});
  EXPECT_THAT(error_of(tensors), HasSubstr("LoRA"));
  const NamedTensors twice{{"_orig_mod.a", at::ones(1)}, {"a", at::ones(1)}};
  EXPECT_THAT(error_of(twice), HasSubstr("are one tensor under the names of two wrappers"));
}

TEST_F(Weights, ThatAreNotFiniteAreRefusedByTheTensorsName) {
  for (const auto type : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    NamedTensors tensors = named();
    const at::Tensor bad = at::ones({16}, type);
    bad[3] = std::numeric_limits<double>::quiet_NaN();
    bad[5] = -std::numeric_limits<double>::infinity();
    tensors["transformer.h.0.ln_1.weight"] = bad;
    EXPECT_THAT(error_of(tensors),
                HasSubstr("tensor transformer.h.0.ln_1.weight is not finite: 1 NaN and 1 infinite of 16 values"));
  }
}

TEST_F(Weights, OfNarrowTypesAreWidenedAndDoublesKept) {
  NamedTensors tensors = named();
  for (auto& [name, tensor] : tensors) tensor = tensor.to(at::kBFloat16);
  EXPECT_EQ(read(tensors)[0][0].scalar_type(), at::kFloat);
  tensors["transformer.wte.weight"] = values[0][0].to(at::kDouble);
  EXPECT_EQ(read(tensors)[0][0].scalar_type(), at::kDouble);
  tensors["transformer.wte.weight"] = values[0][0].to(at::kInt);
  EXPECT_THAT(error_of(tensors), AllOf(HasSubstr("transformer.wte.weight"), HasSubstr("no floating type")));
}

TEST_F(Weights, ThatLackATensorAreRefused) {
  NamedTensors tensors = named();
  tensors.erase("transformer.h.1.ln_2.bias");
  EXPECT_THAT(error_of(tensors),
              AllOf(HasSubstr(path.string()), HasSubstr("tensor transformer.h.1.ln_2.bias is missing")));
}

TEST_F(Weights, WithATensorTheModelLacksAreRefused) {
  NamedTensors tensors = named();
  tensors["transformer.h.2.ln_2.bias"] = at::zeros(16);
  EXPECT_THAT(error_of(tensors), HasSubstr("tensor transformer.h.2.ln_2.bias is not in the model"));
  tensors = named();
  tensors["wte.weight"] = tensors.at("transformer.wte.weight");
  EXPECT_THAT(error_of(tensors), HasSubstr("tensor wte.weight is not in the model"));
}

TEST_F(Weights, OfAnotherShapeAreRefusedWithBothShapes) {
  NamedTensors tensors = named();
  tensors["transformer.wpe.weight"] = at::zeros({5, 16});
  EXPECT_THAT(error_of(tensors), HasSubstr("transformer.wpe.weight has shape [5, 16], the model needs [6, 16]"));
}

// Files of transformers, safetensors and torchvision, by scripts/make_references.py: the weights of gpt2.json and
// vit.json in float32.
class OtherForms : public testing::Test {
 protected:
  static std::filesystem::path data(const char* name) { return std::filesystem::path(LSHDP_TEST_DATA) / name; }
  static void expect_weights_of(const char* name, TensorSource& source) {
    const std::string stem = data(name).string();
    const Model model = make_model(stem + ".json");
    const std::vector<at::Tensor> actual = test::flat(read_weights(model, source)),
                                  wanted = test::flat(read_weights(model, stem + ".weights.safetensors"));
    ASSERT_EQ(actual.size(), wanted.size());
    for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_TRUE(actual[i].equal(wanted[i].to(at::kFloat))) << i;
  }
  static std::string error_of_index(const std::filesystem::path& index) {
    try {
      open_shards(index);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  }
};

TEST_F(OtherForms, ShardsOfTransformersAreRead) {
  expect_weights_of("gpt2", *open_shards(data("gpt2-shards/model.safetensors.index.json")));
}

TEST_F(OtherForms, TheFileOfSafetensorsSaveModelThatKeepsTheHeadAloneIsRead) {
  expect_weights_of("gpt2", *open_safetensors(data("gpt2.head-only.safetensors")));
}

TEST_F(OtherForms, NamesOfWrappersMasksAndANarrowHeadAreRead) {
  expect_weights_of("gpt2", *open_safetensors(data("gpt2.wrapped.safetensors")));
}

TEST_F(OtherForms, NamesOfTorchvisionBefore0_12AreRead) {
  expect_weights_of("vit", *open_safetensors(data("vit.old-names.safetensors")));
}

TEST_F(OtherForms, ShardsThatDoNotGoTogetherAreRefused) {
  const lshdp::test::TemporaryDirectory folder;
  for (const auto& entry : std::filesystem::directory_iterator(data("gpt2-shards")))
    std::filesystem::copy(entry.path(), folder / entry.path().filename().c_str());
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  EXPECT_EQ(error_of_index(index), "no error");
  nlohmann::json said = read_json(index);
  said["weight_map"]["transformer.wte.weight"] = "model-00003-of-00003.safetensors";
  write_json(folder / "wrong.json", said);
  EXPECT_THAT(error_of_index(folder / "wrong.json"),
              HasSubstr("tensor transformer.wte.weight is not in model-00003-of-00003.safetensors"));
  said["weight_map"]["transformer.wte.weight"] = "../model.safetensors";
  write_json(folder / "outside.json", said);
  EXPECT_THAT(error_of_index(folder / "outside.json"), HasSubstr("which is no file beside the index"));
  said["weight_map"]["transformer.wte.weight"] = "pytorch_model-00001-of-00002.bin";
  write_json(folder / "bin.json", said);
  EXPECT_THAT(error_of_index(folder / "bin.json"), HasSubstr("save the model as safetensors"));
  std::filesystem::remove(folder / "model-00002-of-00003.safetensors");
  EXPECT_THAT(error_of_index(index), HasSubstr("is a list of shards, and model-00002-of-00003.safetensors, which it "
                                               "names, is not beside it"));
  write_file(folder / "model-00002-of-00003.safetensors", "cut");
  EXPECT_THAT(error_of_index(index), HasSubstr("model-00002-of-00003.safetensors: 3 bytes are too few"));
}

TEST_F(Weights, OfAnotherModelAreRefused) {
  const Model mlp = make_model_from_json(test::kSmallMlp, "mlp");
  write_weights(mlp, initial_values(mlp, 1), path);
  EXPECT_THROW(read_weights(gpt, path), UsageError);
  EXPECT_THROW(write_weights(mlp, values, path), std::invalid_argument);
}

}  // namespace
}  // namespace lshdp::model
