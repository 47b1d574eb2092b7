// Weights of whole models: which files fit a model, and what is said about those that do not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/model/safetensors.h"
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

TEST_F(Weights, OfAnotherModelAreRefused) {
  const Model mlp = make_model_from_json(test::kSmallMlp, "mlp");
  write_weights(mlp, initial_values(mlp, 1), path);
  EXPECT_THROW(read_weights(gpt, path), UsageError);
  EXPECT_THROW(write_weights(mlp, values, path), std::invalid_argument);
}

}  // namespace
}  // namespace lshdp::model
