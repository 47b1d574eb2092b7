// The Llama family: what Hugging Face computes and generates with the same weights, its configs and its files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/model/shards.h"
#include "model/run_model.h"
#include "support/temporary_directory.h"

namespace lshdp::model {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string data(const std::string& name) { return LSHDP_TEST_DATA "/" + name; }

/// The description of a reference model, as Hugging Face wrote it.
Json config(const std::string& name) { return read_json(data(name + ".json")); }

Json changed(const std::string& name, const Json& changes) {
  Json json = config(name);
  json.update(changes);
  return json;
}

Json description_of(const Json& json) { return make_model_from_json(json, "m").description; }

std::string error_of(const Json& json) {
  try {
    make_model_from_json(json, "m");
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

const Parameter* find(const Model& model, const std::string& name) {
  for (const auto& block : model.blocks) {
    for (const Parameter& parameter : block->parameters()) {
      if (parameter.name == name) return &parameter;
    }
  }
  return nullptr;
}

/// [B, T] -> logits [B, vocabulary] of the position that follows, with what `caches` holds of earlier ones.
at::Tensor next_logits(const Model& model, const Values& values, at::Tensor x, std::vector<BlockCache>& caches) {
  for (std::size_t b = 0; b < model.blocks.size(); ++b)
    x = model.blocks[b]->forward_next(x, test::parameters_of(model, values, b), caches[b]);
  return x.select(1, -1);
}

class LlamaReference : public testing::TestWithParam<const char*> {
 protected:
  std::string file(const std::string& suffix) const { return data(GetParam() + suffix); }
  Model model = make_model(file(".json"));
  Values weights = read_weights(model, file(".weights.safetensors"));
  Values single = test::leaves(weights, at::kFloat);
  NamedTensors expected = read_safetensors(file(".reference.safetensors"));
  NamedTensors generated = read_safetensors(file(".generated.safetensors"));
};

TEST_P(LlamaReference, SinglePrecisionAgreesWithTheLibrarysOwn) {
  const c10::InferenceMode no_gradients;
  const at::Tensor logits = test::logits_of(model, single, expected.at("input")), wanted = generated.at("logits");
  EXPECT_LT(test::relative_difference(logits, wanted), 1e-6);
  EXPECT_LT((logits - wanted).abs().max().item<double>(), 1e-5);
}

TEST_P(LlamaReference, GreedyGenerationGivesTheSameTokens) {
  const c10::InferenceMode no_gradients;
  const at::Tensor tokens = generated.at("tokens");
  const std::int64_t prompt = 8, all = tokens.size(1);
  ASSERT_EQ(all, prompt + 24);
  std::vector<BlockCache> caches(model.blocks.size());
  at::Tensor next = tokens.narrow(1, 0, prompt);
  for (std::int64_t at = prompt; at < all; ++at) {
    next = next_logits(model, single, next, caches).argmax(-1, /*keepdim=*/true);
    ASSERT_TRUE(next.equal(tokens.narrow(1, at, 1))) << at;
  }
}

TEST_P(LlamaReference, PiecesOfASequenceGiveTheLogitsOfTheWhole) {
  const c10::InferenceMode no_gradients;
  const at::Tensor input = expected.at("input");
  std::vector<BlockCache> caches(model.blocks.size());
  std::int64_t at = 0;
  for (const std::int64_t length : {5, 1, 7, 1, 1, 20}) {
    const at::Tensor logits = next_logits(model, weights, input.narrow(1, at, length), caches);
    at += length;
    EXPECT_LT(test::relative_difference(logits, expected.at("logits").select(1, at - 1)), 1e-11) << at;
  }
}

TEST_P(LlamaReference, ItsConfigComesBackAndIsTakenAgain) {
  const Json written = config_of(model, at::kFloat), read = config(GetParam());
  for (const char* key : {"architectures", "model_type", "head_dim", "tie_word_embeddings", "rms_norm_eps"}) {
    if (!read.contains(key)) continue;
    EXPECT_EQ(written.at(key), read.at(key)) << key;
  }
  EXPECT_EQ(description_of(written), model.description);
  EXPECT_EQ(description_of(model.description), model.description);
}

INSTANTIATE_TEST_SUITE_P(Models, LlamaReference, testing::Values("llama", "llama_wide", "llama3", "qwen2", "mistral"),
                         [](const auto& made) { return std::string(made.param); });

TEST(Llama, HasHuggingFacesNamesOrientationsAndFirstValues) {
  const Model model = make_model("llama-3.1-8b");
  ASSERT_EQ(model.blocks.size(), 66U);
  EXPECT_EQ(model.blocks[1]->name(), "attention 0");
  EXPECT_EQ(model.blocks[64]->name(), "mlp 31");
  EXPECT_THAT(find(model, "model.embed_tokens.weight")->shape, ElementsAre(128256, 4096));
  EXPECT_THAT(find(model, "model.layers.31.self_attn.q_proj.weight")->shape, ElementsAre(4096, 4096));
  EXPECT_THAT(find(model, "model.layers.0.self_attn.v_proj.weight")->shape, ElementsAre(1024, 4096));
  EXPECT_THAT(find(model, "model.layers.0.mlp.down_proj.weight")->shape, ElementsAre(4096, 14336));
  EXPECT_EQ(find(model, "model.layers.0.self_attn.q_proj.bias"), nullptr);
  EXPECT_EQ(model.owner_of("lm_head.weight"), (ParameterPlace{65, 1}));
  EXPECT_EQ(find(model, "model.norm.weight")->init.kind, Init::Kind::ones);
  EXPECT_EQ(find(model, "lm_head.weight")->init.kind, Init::Kind::normal);
  EXPECT_EQ(find(model, "lm_head.weight")->init.scale, 0.02);
  EXPECT_EQ(model.input.positions, 131072);
}

/// The keys of published files, whose sizes are those of the presets.
TEST(Llama, TakesPublishedConfigsAsThePresetsOfTheirNames) {
  const Json llama = {{"architectures", {"LlamaForCausalLM"}},
                      {"attention_bias", false},
                      {"attention_dropout", 0.0},
                      {"bos_token_id", 128000},
                      {"eos_token_id", 128001},
                      {"head_dim", 64},
                      {"hidden_act", "silu"},
                      {"hidden_size", 2048},
                      {"initializer_range", 0.02},
                      {"intermediate_size", 8192},
                      {"max_position_embeddings", 131072},
                      {"mlp_bias", false},
                      {"model_type", "llama"},
                      {"num_attention_heads", 32},
                      {"num_hidden_layers", 16},
                      {"num_key_value_heads", 8},
                      {"pretraining_tp", 1},
                      {"rms_norm_eps", 1e-05},
                      {"rope_scaling",
                       {{"factor", 32.0},
                        {"high_freq_factor", 4.0},
                        {"low_freq_factor", 1.0},
                        {"original_max_position_embeddings", 8192},
                        {"rope_type", "llama3"}}},
                      {"rope_theta", 500000.0},
                      {"tie_word_embeddings", true},
                      {"torch_dtype", "bfloat16"},
                      {"transformers_version", "4.45.0.dev0"},
                      {"use_cache", true},
                      {"vocab_size", 128256}};
  Json qwen = {{"architectures", {"Qwen2ForCausalLM"}},
               {"attention_dropout", 0.0},
               {"bos_token_id", 151643},
               {"eos_token_id", 151643},
               {"hidden_act", "silu"},
               {"hidden_size", 896},
               {"initializer_range", 0.02},
               {"intermediate_size", 4864},
               {"max_position_embeddings", 32768},
               {"max_window_layers", 24},
               {"model_type", "qwen2"},
               {"num_attention_heads", 14},
               {"num_hidden_layers", 24},
               {"num_key_value_heads", 2},
               {"rms_norm_eps", 1e-06},
               {"rope_theta", 1000000.0},
               {"sliding_window", 32768},
               {"tie_word_embeddings", true},
               {"torch_dtype", "bfloat16"},
               {"transformers_version", "4.40.1"},
               {"use_cache", true},
               {"use_mrope", false},
               {"use_sliding_window", false},
               {"vocab_size", 151936}};
  EXPECT_EQ(description_of(llama), make_model("llama-3.2-1b").description);
  EXPECT_EQ(description_of(qwen), make_model("qwen2.5-0.5b").description);
  qwen["use_mrope"] = true;
  EXPECT_THAT(error_of(qwen), HasSubstr("use_mrope"));
}

TEST(Llama, ATiedHeadBorrowsTheEmbedding) {
  const Model model = make_model("llama-3.2-1b");
  EXPECT_THAT(model.blocks.back()->borrowed(), ElementsAre("model.embed_tokens.weight"));
  EXPECT_EQ(find(model, "lm_head.weight"), nullptr);
}

TEST(Llama, EachFamilyHasItsBiases) {
  const Model qwen = make_model("qwen2.5-0.5b");
  EXPECT_THAT(find(qwen, "model.layers.23.self_attn.k_proj.bias")->shape, ElementsAre(128));
  EXPECT_EQ(find(qwen, "model.layers.23.self_attn.q_proj.bias")->init.kind, Init::Kind::zeros);
  EXPECT_EQ(find(qwen, "model.layers.23.self_attn.o_proj.bias"), nullptr);
  const Model wide = make_model(data("llama_wide.json"));
  EXPECT_THAT(find(wide, "model.layers.1.self_attn.o_proj.bias")->shape, ElementsAre(16));
  EXPECT_THAT(find(wide, "model.layers.1.mlp.gate_proj.bias")->shape, ElementsAre(24));
  EXPECT_THAT(error_of(changed("mistral", {{"attention_bias", true}})), HasSubstr("\"attention_bias\" is not known"));
}

TEST(Llama, APositionDoesNotSeeLaterTokensAndTooManyAreRefused) {
  const c10::InferenceMode no_gradients;
  const Model model = make_model(data("llama.json"));
  const Values values = test::leaves(initial_values(model, 1), at::kDouble);
  const at::Tensor tokens = synthetic_batch(model.input, 2, 3).input;
  const at::Tensor whole = test::logits_of(model, values, tokens);
  EXPECT_EQ(whole.size(1), 64);
  EXPECT_TRUE(test::logits_of(model, values, tokens.narrow(1, 0, 9)).allclose(whole.narrow(1, 0, 9), 1e-10, 1e-12));
  EXPECT_THROW(test::logits_of(model, values, at::zeros({1, 65}, at::kLong)), UsageError);
  std::vector<BlockCache> caches(model.blocks.size());
  next_logits(model, values, tokens, caches);
  EXPECT_THROW(next_logits(model, values, at::zeros({2, 1}, at::kLong), caches), UsageError);
}

TEST(RotaryPositions, OlderKeysMeanTheSame) {
  Json old = config("llama3");
  Json rotary = old.at("rope_parameters");
  old.erase("rope_parameters");
  old["rope_theta"] = rotary.at("rope_theta");
  rotary.erase("rope_theta");
  old["rope_scaling"] = rotary;
  EXPECT_EQ(description_of(old), description_of(config("llama3")));
  old = config("mistral");
  old.erase("rope_parameters");
  old["rope_theta"] = 500;
  old["rope_scaling"] = {{"type", "linear"}, {"factor", 2.5}};
  EXPECT_EQ(description_of(old), description_of(config("mistral")));
  old = config("llama");
  old.erase("rope_parameters");
  EXPECT_EQ(description_of(old), description_of(config("llama")));  // before there was a choice
  old["rope_scaling"] = nullptr;
  EXPECT_EQ(description_of(old), description_of(config("llama")));
}

TEST(RotaryPositions, OfOtherKindsAreRefusedByName) {
  const auto error = [](const Json& rotary) { return error_of(changed("llama", {{"rope_parameters", rotary}})); };
  EXPECT_THAT(
      error({{"rope_type", "yarn"}, {"factor", 4.0}}),
      HasSubstr("model 'm': \"rope_parameters\": \"rope_type\" is \"yarn\", which is not supported; \"default\""));
  EXPECT_THAT(error({{"rope_type", "dynamic"}, {"factor", 4.0}}), HasSubstr("\"dynamic\", which is not supported"));
  EXPECT_THAT(error({{"rope_type", "linear"}}), HasSubstr("\"rope_parameters\": \"factor\" is missing"));
  EXPECT_THAT(error({{"rope_type", "default"}, {"beta_fast", 32}}), HasSubstr("\"beta_fast\" is not known here"));
  EXPECT_THAT(error("default"), HasSubstr("\"rope_parameters\" must be a JSON object"));
  Json scaled = config("llama3").at("rope_parameters");
  scaled["high_freq_factor"] = 1.0;
  EXPECT_THAT(error(scaled), HasSubstr("\"high_freq_factor\" must be above \"low_freq_factor\" (1)"));
  EXPECT_THAT(error_of(changed("llama", {{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}})),
              HasSubstr("\"rope_scaling\" and \"rope_parameters\" are one thing"));
  EXPECT_THAT(error_of(changed("llama", {{"partial_rotary_factor", 0.5}})),
              HasSubstr("\"partial_rotary_factor\" is 0.5"));
}

TEST(LlamaConfig, HeadsThatDoNotFitAreRefused) {
  EXPECT_THAT(error_of(changed("llama", {{"head_dim", 5}})), HasSubstr("\"head_dim\" is 5; it must be even"));
  EXPECT_THAT(error_of(changed("llama", {{"num_key_value_heads", 3}})),
              HasSubstr("\"num_attention_heads\" (4) must be a multiple of \"num_key_value_heads\" (3)"));
  EXPECT_THAT(error_of(changed("llama", {{"head_dim", nullptr}, {"num_attention_heads", 6}})),
              HasSubstr("\"hidden_size\" (16) must be a multiple of \"num_attention_heads\" (6)"));
  EXPECT_THAT(error_of(changed("llama", {{"hidden_act", "gelu"}})), HasSubstr("set it to \"silu\""));
  Json alone = config("llama");
  alone.erase("num_key_value_heads");
  EXPECT_EQ(description_of(alone).at("num_key_value_heads"), 4);
  Json mistral = config("mistral");
  mistral.erase("num_key_value_heads");
  EXPECT_THAT(error_of(mistral), HasSubstr("\"num_key_value_heads\" is missing"));
}

TEST(LlamaConfig, UnknownKeysAreRefusedAndDropoutIsTold) {
  EXPECT_THAT(error_of(changed("llama", {{"logit_scale", 2}})), HasSubstr("\"logit_scale\" is not known here"));
  EXPECT_THAT(
      error_of(changed("llama", {{"model_type", "qwen3"}})),
      HasSubstr("\"type\" is \"qwen3\"; it must be \"vit\", \"gpt2\", \"llama\", \"qwen2\", \"mistral\" or \"mlp\""));
  EXPECT_THAT(make_model_from_json(changed("qwen2", {{"attention_dropout", 0.1}}), "m").dropout,
              ElementsAre("attention_dropout 0.1"));
}

TEST(LlamaConfig, WindowsAreRefusedWhereTheyHideAPosition) {
  EXPECT_EQ(error_of(changed("mistral", {{"sliding_window", nullptr}})), "no error");
  EXPECT_THAT(
      error_of(changed("mistral", {{"sliding_window", 63}})),
      HasSubstr("\"sliding_window\" is 63, below \"max_position_embeddings\" (64): windows are not supported; set "
                "\"max_position_embeddings\" to 63"));
  Json silent = changed("mistral", {{"max_position_embeddings", 8192}});
  silent.erase("sliding_window");
  EXPECT_THAT(error_of(silent), HasSubstr("\"sliding_window\" is 4096 where it is left out, below"));
  EXPECT_EQ(error_of(changed("qwen2", {{"sliding_window", 8}})), "no error");
  const Json used = changed("qwen2", {{"sliding_window", 8}, {"use_sliding_window", true}, {"max_window_layers", 1}});
  EXPECT_THAT(error_of(used), HasSubstr("\"sliding_window\" is 8, below"));
  EXPECT_EQ(error_of(changed("qwen2", {{"sliding_window", 8}, {"use_sliding_window", true}, {"max_window_layers", 2}})),
            "no error");
  EXPECT_THAT(error_of(changed("qwen2", {{"layer_types", {"full_attention", "sliding_attention"}}})),
              HasSubstr("\"layer_types\" is [\"full_attention\",\"sliding_attention\"]; only \"full_attention\""));
}

TEST(LlamaConfig, IsWrittenWithTheEndsOfTextsOfItsTokenizer) {
  const Json llama = config_of(make_model("llama-3.2-3b"), at::kBFloat16);
  EXPECT_EQ(llama.at("eos_token_id"), 128001);
  EXPECT_EQ(llama.at("torch_dtype"), "bfloat16");
  EXPECT_EQ(llama.at("rope_scaling").at("factor"), 32);
  EXPECT_FALSE(llama.contains("type"));
  EXPECT_TRUE(config_of(make_model("llama-2-7b"), at::kFloat).at("rope_scaling").is_null());
  EXPECT_TRUE(config_of(make_model(data("qwen2.json")), at::kFloat).at("eos_token_id").is_null());
}

TEST(Context, IsThePositionsUnlessADescriptionOrACallerSaysOtherwise) {
  for (const char* name : {"gpt2", "llama"}) {
    const Model model = make_model(data(std::string(name) + ".json"));
    EXPECT_EQ(model.input.context, model.input.positions);
    EXPECT_FALSE(model.description.contains("context"));
    const Model shorter = with_context(model, 5);
    EXPECT_EQ(shorter.name, model.name);
    EXPECT_EQ(shorter.input.context, 5);
    EXPECT_EQ(shorter.terms_per_sample(), 5);
    EXPECT_EQ(shorter.input.positions, model.input.positions);
    EXPECT_EQ(shorter.parameter_count(), model.parameter_count());
    EXPECT_EQ(shorter.description.at("context"), 5);
    EXPECT_EQ(description_of(shorter.description), shorter.description);
    EXPECT_EQ(synthetic_batch(shorter.input, 2, 1).input.size(1), 5);
    EXPECT_EQ(config_of(shorter, at::kFloat), config_of(model, at::kFloat));
    EXPECT_EQ(with_context(shorter, model.input.positions).description, model.description);
  }
}

TEST(Context, OutOfRangeIsRefused) {
  const Model gpt = make_model("gpt2");
  for (const std::int64_t context : {0, 1025}) {
    try {
      with_context(gpt, context);
      FAIL();
    } catch (const UsageError& error) {
      EXPECT_STREQ(error.what(), "model 'gpt2': \"context\" must be a whole number from 1 to 1024");
    }
  }
  EXPECT_THROW(with_context(make_model("mlp"), 4), UsageError);
}

// The weights of llama_wide.json (with a head of its own) and of llama3.json (tied) under other names.
class LlamaWeights : public testing::TestWithParam<const char*> {
 protected:
  lshdp::test::TemporaryDirectory folder;
  Model model = make_model(data(GetParam() + std::string(".json")));
  NamedTensors named = read_safetensors(data(GetParam() + std::string(".weights.safetensors")));

  Values read(const NamedTensors& tensors) {
    const std::filesystem::path path = folder / "w.safetensors";
    write_safetensors(path, {tensors.begin(), tensors.end()});
    return read_weights(model, path);
  }
  void expect_read(const NamedTensors& tensors) {
    const Values values = read(tensors);
    for (std::size_t b = 0; b < values.size(); ++b) {
      for (std::size_t i = 0; i < values[b].size(); ++i) {
        const std::string& name = model.blocks[b]->parameters()[i].name;
        EXPECT_TRUE(values[b][i].equal(named.at(name))) << name;
      }
    }
  }
  std::string error_of(const NamedTensors& tensors) {
    try {
      read(tensors);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "no error";
  }
};

TEST_P(LlamaWeights, MayStandBehindTheNamesOfWrappersOneOfWhichIsTheirOwnPrefix) {
  for (const std::string wrapper : {"", "model.", "module.", "_orig_mod.", "base_model.model.", "module.model."}) {
    NamedTensors tensors;
    for (const auto& [name, tensor] : named) tensors[wrapper + name] = tensor;
    expect_read(tensors);
  }
}

TEST_P(LlamaWeights, MayLackThePrefixOfHuggingFace) {
  NamedTensors bare;
  for (const auto& [name, tensor] : named) bare[name.starts_with("model.") ? name.substr(6) : name] = tensor;
  expect_read(bare);
}

TEST_P(LlamaWeights, MayHoldRotaryFrequencies) {
  NamedTensors tensors = named;
  tensors["model.rotary_emb.inv_freq"] = at::ones(8);
  tensors["model.layers.1.self_attn.rotary_emb.inv_freq"] = at::ones(8, at::kBFloat16);
  expect_read(tensors);
  tensors["model.layers.1.self_attn.q_norm.weight"] = at::ones(8);
  EXPECT_THAT(error_of(tensors), HasSubstr("tensor model.layers.1.self_attn.q_norm.weight is not in the model"));
}

INSTANTIATE_TEST_SUITE_P(Models, LlamaWeights, testing::Values("llama_wide", "llama3"),
                         [](const auto& made) { return std::string(made.param); });

using TiedLlamaWeights = LlamaWeights;
TEST_P(TiedLlamaWeights, MayHoldTheHeadThatIsTheEmbedding) {
  NamedTensors tensors = named;
  tensors["lm_head.weight"] = named.at("model.embed_tokens.weight");
  expect_read(tensors);
  tensors.erase("model.embed_tokens.weight");
  expect_read(tensors);
  tensors = named;
  tensors["lm_head.weight"] = named.at("model.embed_tokens.weight") + 1;
  EXPECT_THAT(error_of(tensors), HasSubstr("lm_head.weight differs from the embedding"));
}
INSTANTIATE_TEST_SUITE_P(Models, TiedLlamaWeights, testing::Values("llama3"));

using UntiedLlamaWeights = LlamaWeights;
TEST_P(UntiedLlamaWeights, ThatLackTheirHeadAreRefused) {
  NamedTensors tensors = named;
  tensors.erase("lm_head.weight");
  EXPECT_THAT(error_of(tensors),
              AllOf(HasSubstr("tensor lm_head.weight is missing"), HasSubstr("tie_word_embeddings")));
}

TEST_P(UntiedLlamaWeights, ShardsOfTransformersAreRead) {
  const Model again = make_model(data("llama-shards"));
  EXPECT_EQ(again.description, model.description);
  const auto shards = open_shards(data("llama-shards/model.safetensors.index.json"));
  const std::vector<at::Tensor> actual = test::flat(read_weights(again, *shards));
  const std::vector<at::Tensor> wanted = test::flat(read(named));
  ASSERT_EQ(actual.size(), wanted.size());
  for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_TRUE(actual[i].equal(wanted[i].to(at::kFloat))) << i;
}
INSTANTIATE_TEST_SUITE_P(Models, UntiedLlamaWeights, testing::Values("llama_wide"));

}  // namespace
}  // namespace lshdp::model
