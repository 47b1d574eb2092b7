// Readers of `lshdp explore`: overrides, YAML, settings, Hugging Face's config.json; what they accept is searched.
#include <gtest/gtest.h>

#include "lshdp/core/file.h"
#include "lshdp/explore/config.h"
#include "lshdp/explore/parameters.h"
#include "lshdp/explore/search.h"
#include "lshdp/explore/settings.h"
#include "reader.h"

namespace lshdp::test {
namespace {

using explore::Settings;

const std::filesystem::path kConfigs = LSHDP_CONFIGS;

Json tree_of(const std::string& name) { return explore::compose({kConfigs}, name, {"device=h100-80gb"}).tree; }

std::vector<std::string> overrides() {
  return {"model.seq_length=8_192",
          "+a.b={x: [1, 2.5e3, 'it\\'s'], y: ${model.name}}",
          "~model.moe.k=2",
          "++model.name=str([1,true,x])",
          "+ngpus_range=[8,128]",
          "model.name=a\\,b c",
          "+b=\"q\\\\\""};
}

void read_override(const std::string& text) {
  static const Json tree = tree_of("mixtral-8x7b");
  const explore::Override override = explore::parse_override(text);
  Json changed = tree;
  explore::apply(override, changed);
  EXPECT_TRUE(changed.is_object());
}

std::vector<std::string> yaml_texts() {
  return {read_file(kConfigs / "deepseek-v3.yaml"), "a: &x [1, 0x1F, 1e3, ~, yes]\nb: *x\nc: {d: \"e\", f: 'g'}\n"};
}

void read_yaml(const std::string& text) { explore::parse_yaml(text, "x.yaml"); }

std::vector<Json> compositions() {
  return {{{"defaults", {"base", {{"device", "h100-80gb"}}, {{"optional device@model.spare", "x"}}, "_self_"}},
           {"a", {{"b", "${.c}"}, {"c", "x${a.d}y"}, {"d", 3}}}}};
}

void compose(const Json& json) {
  if (json.is_object()) explore::compose({kConfigs}, json, "fuzz", {});
}

/// A search of a few layouts, whatever the sizes.
void search_some(Settings settings) {
  explore::SearchSpace& space = settings.space;
  const std::int64_t devices = settings.space.tensor.back() * 8;
  space.devices = {devices > 0 ? devices : 8};
  space.pipeline.resize(1);
  space.expert.resize(std::min<std::size_t>(2, space.expert.size()));
  space.interleaving = {1, 2};
  const auto visit = [](const explore::Candidate& candidate) {
    EXPECT_GT(candidate.worst.total_with_margin(), 0);
    EXPECT_LT(candidate.worst.total_with_margin(), 1e300);
  };
  const auto counts = explore::search(settings.model, settings.trainer, space, settings.hardware(), visit);
  EXPECT_EQ(counts.all(), space.size());
}

std::vector<Json> settings_trees() {
  const Json offload = explore::compose({kConfigs}, "llama3.1-8b",
                                        {"device=a100-80gb", "cluster=dgx-a100", "+offload_range=[none,parameters]"})
                           .tree;
  return {offload, tree_of("mixtral-8x7b"), tree_of("deepseek-v3"), tree_of("vit-22b"), tree_of("megatron-530b")};
}

void read_settings(const Json& json) {
  const Settings settings = explore::read_settings(json, "fuzz");
  EXPECT_GT(explore::total_parameters(settings.model), 0);
  if (settings.model.num_layers < 1000 && settings.space.size() < 10'000'000) search_some(settings);
}

std::vector<Json> hugging_face_configs() {
  const Json llama = {{"model_type", "llama"},     {"vocab_size", 128256},      {"num_hidden_layers", 32},
                      {"hidden_size", 4096},       {"num_attention_heads", 32}, {"num_key_value_heads", 8},
                      {"intermediate_size", 14336}};
  const Json gpt2 = {{"model_type", "gpt2"}, {"vocab_size", 50257}, {"n_layer", 12},
                     {"n_embd", 768},        {"n_head", 12},        {"n_positions", 1024}};
  Json deepseek = llama;
  deepseek.update({{"model_type", "deepseek_v3"},
                   {"moe_intermediate_size", 2048},
                   {"n_routed_experts", 256},
                   {"num_experts_per_tok", 8},
                   {"kv_lora_rank", 512},
                   {"qk_nope_head_dim", 128},
                   {"qk_rope_head_dim", 64},
                   {"v_head_dim", 128}});
  return {llama, gpt2, deepseek};
}

void read_hugging_face(const Json& json) {
  Json tree = {{"model", explore::model_of_hugging_face(json, "m", "config.json")}};
  tree["model"]["global_batch_size"] = tree["model"]["seq_length"] = 512;
  explore::read_settings(tree, "config.json");
}

}  // namespace

std::vector<Reader> readers() {
  return {{"Override", overrides, read_override},
          {"Yaml", yaml_texts, read_yaml},
          json_reader("Composition", compositions, compose),
          json_reader("Settings", settings_trees, read_settings),
          json_reader("HuggingFace", hugging_face_configs, read_hugging_face)};
}

}  // namespace lshdp::test
