// Keys of configurations: presets, defaults, refusals; Hugging Face's config.json.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/explore/config.h"
#include "lshdp/explore/parameters.h"
#include "lshdp/explore/settings.h"

namespace lshdp::explore::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::filesystem::path kConfigs = LSHDP_CONFIGS;

Settings preset(const std::string& name, const std::vector<std::string>& overrides = {}) {
  return read_settings(compose({kConfigs}, name, overrides).tree, name);
}

std::string refusal(const std::vector<std::string>& overrides, const std::string& name = "llama3.1-8b") {
  try {
    preset(name, overrides);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Presets, HaveTheParametersOfTheirModels) {
  const std::pair<const char*, std::int64_t> exact[] = {{"llama3.1-8b", 8'030'261'248},
                                                        {"llama3.1-70b", 70'553'706'496},
                                                        {"llama3.1-405b", 405'853'388'800},
                                                        {"mixtral-8x7b", 46'702'792'704},
                                                        {"mixtral-8x22b", 140'620'634'112}};
  for (const auto& [name, parameters] : exact) EXPECT_EQ(total_parameters(preset(name).model), parameters) << name;
  // What their papers call them, in billions.
  const std::tuple<const char*, double, double> named[] = {{"gpt3-175b", 174.6, 0.1},     {"megatron-22b", 22, 0.1},
                                                           {"megatron-530b", 529.6, 0.1}, {"megatron-1t", 1008, 0.1},
                                                           {"deepseek-v3", 671, 0.1},     {"vit-22b", 21.743, 0.2}};
  for (const auto& [name, billions, off] : named)
    EXPECT_NEAR(static_cast<double>(total_parameters(preset(name).model)) / 1e9, billions, off) << name;
}

TEST(Presets, CanAllBeSearched) {
  for (const std::string& name : names_in({kConfigs}, "")) {
    if (name == "base") continue;
    const Settings settings = preset(name);
    EXPECT_GT(settings.space.size(), 0);
    EXPECT_EQ(settings.model.name, name);
    EXPECT_FALSE(settings.device);
  }
}

TEST(Presets, OfDevicesHaveMemory) {
  for (const std::string& name : names_in({kConfigs}, "device")) {
    const Settings settings = preset("llama3.1-8b", {"device=" + name});
    ASSERT_TRUE(settings.device) << name;
    EXPECT_GT(settings.device->memory_bytes, 10LL << 30);
  }
}

TEST(Presets, OfClustersAndOfTheirDevicesHaveAllThatTimesNeed) {
  for (const std::string& name : names_in({kConfigs}, "cluster")) {
    if (name.ends_with("-mixed")) continue;  // it has its own devices
    const Settings settings = preset("llama3.1-8b", {"device=v100-32gb", "cluster=" + name});
    ASSERT_TRUE(settings.hardware()) << name;
    const Cluster& cluster = *settings.cluster;
    EXPECT_EQ(cluster.devices_per_node, name == "dgx-2" ? 16 : 8) << name;
    EXPECT_EQ(cluster.host_memory_bytes > 0, cluster.host_memory_bandwidth > 0) << name;
    EXPECT_GT(cluster.within_node.bytes_per_second, 2 * cluster.between_nodes.bytes_per_second) << name;
    EXPECT_LT(cluster.within_node.latency_seconds, 1e-4) << name;
  }
  for (const std::string name :
       {"a100-40gb", "a100-80gb", "a100-pcie-80gb", "h100-80gb", "h100-pcie-80gb", "h200-141gb", "v100-32gb",
        "l40s-48gb", "l4-24gb", "a10-24gb", "t4-16gb", "rtx3090-24gb", "rtx4090-24gb"}) {
    const Device device = *preset("llama3.1-8b", {"device=" + name, "cluster=pcie4-100g"}).device;
    // A peak of 2 x 10^13 to 10^15 operations a second, at 70 to 500 operations a byte; less in float32.
    EXPECT_GT(device.float16_flops, 2e13) << name;
    EXPECT_LT(device.float16_flops, 1e15) << name;
    EXPECT_LT(device.float32_flops, device.float16_flops) << name;
    EXPECT_GT(device.float16_flops / device.memory_bandwidth, 70) << name;
    EXPECT_LT(device.float16_flops / device.memory_bandwidth, 500) << name;
    // PCIe 3.0 to 5.0.
    EXPECT_TRUE(device.host_link == 15.75e9 || device.host_link == 31.5e9 || device.host_link == 63e9) << name;
  }
}

TEST(Settings, SearchWhatIsNotFixed) {
  EXPECT_THAT(preset("llama3.1-8b").space.micro_batch, ElementsAre(1, 2, 4));
  EXPECT_THAT(preset("llama3.1-8b", {"model.micro_batch_size=2"}).space.micro_batch, ElementsAre(2));
  EXPECT_THAT(preset("llama3.1-8b", {"model.micro_batch_size=2", "+mbs_range=[8,4,8]"}).space.micro_batch,
              ElementsAre(4, 8));
  EXPECT_THAT(preset("llama3.1-8b", {"trainer.data_parallel_sharding_strategy=FULLY_SHARD"}).space.sharding,
              ElementsAre(Sharding::fully_shard));
  EXPECT_THAT(preset("llama3.1-8b", {"+sharding_range=[FULLY_SHARD,NO_OP]"}).space.sharding,
              ElementsAre(Sharding::no_op, Sharding::fully_shard));
  EXPECT_THAT(preset("llama3.1-8b", {"+ngpus_range=8"}).space.devices, ElementsAre(8));
  EXPECT_THAT(preset("llama3.1-8b", {"+sequence_parallel_range=true"}).space.sequence_parallel, ElementsAre(true));
  EXPECT_THAT(preset("mixtral-8x7b").space.expert, ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(preset("llama3.1-8b").space.expert, ElementsAre(1));
}

// The keys of PLANNER.md are enough.
TEST(Settings, NeedNoMoreThanThePlannersKeys) {
  const Json tree = parse_yaml(R"(
model: {name: m, global_batch_size: 8, micro_batch_size: 1, vocab_size: 1000, num_layers: 2, hidden_size: 64,
  num_attention_heads: 4, num_key_value_heads: 2, ffn_hidden_size: 128, seq_length: 128, activation: swiglu,
  share_embeddings_and_output_weights: true,
  moe: {expert_frequency: 0.5, k: 2, num_experts: 4, token_imbalance_hypothesis: 1.2}}
trainer: {data_parallel_sharding_strategy: OPTIMIZER_STATES, param_dtype: float16, grad_dtype: float32}
ngpus_range: [1, 2]
)",
                               "m.yaml");
  const Settings settings = read_settings(tree, "m.yaml");
  EXPECT_EQ(settings.model.moe.ffn_hidden_size, 128);
  EXPECT_FALSE(settings.model.is_expert_layer(0));
  EXPECT_TRUE(settings.model.is_expert_layer(1));
  Json without = tree;
  without["model"]["moe"] = {
      {"expert_frequency", 0}, {"k", 0}, {"num_experts", 0}, {"token_imbalance_hypothesis", 1.0}};
  EXPECT_FALSE(read_settings(without, "m.yaml").model.has_experts());
}

TEST(Settings, ThatAreWrongAreRefusedByKey) {
  EXPECT_THAT(refusal({"+model.hiden_size=1"}),
              HasSubstr("model.hiden_size is not known; did you mean model.hidden_size?"));
  EXPECT_THAT(refusal({"~model.hidden_size"}),
              HasSubstr("model.hidden_size is missing; give it as +model.hidden_size=.."));
  EXPECT_THAT(refusal({"model.num_layers=[1,2]"}), HasSubstr("model.num_layers must be a whole number, not a list"));
  EXPECT_THAT(refusal({"model.num_layers=1.5"}), HasSubstr("must be a whole number, not 1.5"));
  EXPECT_THAT(refusal({"model.num_layers=0"}), HasSubstr("model.num_layers must be at least 1, not 0"));
  EXPECT_THAT(refusal({"model.seq_length=-8"}), HasSubstr("must be at least 1, not -8"));
  EXPECT_THAT(refusal({"model.num_key_value_heads=5"}), HasSubstr("num_attention_heads (32) must be divisible"));
  EXPECT_THAT(refusal({"model.num_attention_heads=48"}), HasSubstr("hidden_size (4096) must be divisible by"));
  EXPECT_THAT(refusal({"model.vocab_size=9223372036854775807"}), HasSubstr("must be at most 1000000000"));
  EXPECT_THAT(refusal({"model.vocab_size=1e19"}), HasSubstr("is beyond 2^63"));
  EXPECT_THAT(refusal({"model.ffn_hidden_size=1000000000", "model.hidden_size=1000000000"}),
              HasSubstr("more than 2^63"));
  EXPECT_THAT(refusal({"device=h100"}), HasSubstr("there is no device 'h100'; did you mean h100-80gb?"));
  EXPECT_THAT(refusal({"+device.price=1"}), HasSubstr("device.price is not known"));
  EXPECT_THAT(refusal({"cluster=dgx"}), HasSubstr("there is no cluster 'dgx'"));
  EXPECT_THAT(refusal({"device=a100-80gb", "cluster=dgx-a100", "device.memory_bandwidth_gb_s=fast"}),
              HasSubstr("device.memory_bandwidth_gb_s must be a number"));
  EXPECT_THAT(refusal({"trainer.param_dtype=flaot16"}), HasSubstr("did you mean float16?"));
  EXPECT_THAT(refusal({"trainer.param_dtype=float32", "trainer.grad_dtype=float16"}), HasSubstr("must be float32"));
  EXPECT_THAT(refusal({"+sharding_range=[ZERO]"}), HasSubstr("must be one of NO_OP"));
  EXPECT_THAT(refusal({"+tp_range=[0]"}), HasSubstr("tp_range must be at least 1"));
  EXPECT_THAT(refusal({"+tp_range=[1000000000]"}), HasSubstr("tp_range must be at most"));
  EXPECT_THAT(refusal({"+recompute_range=[]"}), HasSubstr("empty list"));
  EXPECT_THAT(refusal({"model=3"}), HasSubstr("model must be a dictionary, not 3"));
  EXPECT_THAT(refusal({"model.moe.k=9"}, "mixtral-8x7b"), HasSubstr("moe.k (9) is more than moe.num_experts (8)"));
  EXPECT_THAT(refusal({"model.moe.expert_frequency=2"}, "mixtral-8x7b"), HasSubstr("must be from 0 to 1"));
  EXPECT_THAT(refusal({"model.vision.image_size=9000000000000000000", "model.vision.patch_size=1"}, "vit-22b"),
              HasSubstr("model: vision.image_size must be at most"));
  EXPECT_THAT(refusal({"model.vision.image_size=1000000000", "model.vision.patch_size=1000000000",
                       "+model.vision.num_channels=1000000000"},
                      "vit-22b"),
              HasSubstr("more than 2^63"));
  EXPECT_THAT(refusal({"+model.seq_length=5"}, "vit-22b"), HasSubstr("does not go with model.vision"));
}

Settings from_hugging_face(const Json& config) {
  Json tree = {{"model", model_of_hugging_face(config, "m", "config.json")}};
  tree["model"]["global_batch_size"] = 8;
  tree["model"]["seq_length"] = 512;
  return read_settings(tree, "config.json");
}

// Keys and sizes of the models' files.
TEST(HuggingFace, ConfigurationsGiveTheirModels) {
  const Json llama = {{"model_type", "llama"},      {"vocab_size", 128256},         {"num_hidden_layers", 32},
                      {"hidden_size", 4096},        {"num_attention_heads", 32},    {"num_key_value_heads", 8},
                      {"intermediate_size", 14336}, {"tie_word_embeddings", false}, {"attention_bias", false},
                      {"rms_norm_eps", 1e-5}};
  EXPECT_EQ(total_parameters(from_hugging_face(llama).model), 8'030'261'248);
  const Json gpt2 = {{"model_type", "gpt2"}, {"vocab_size", 50257}, {"n_layer", 12},     {"n_embd", 768},
                     {"n_head", 12},         {"n_positions", 1024}, {"n_inner", nullptr}};
  EXPECT_EQ(total_parameters(from_hugging_face(gpt2).model), 124'439'808);
  Json mixtral = llama;
  mixtral.update(
      {{"model_type", "mixtral"}, {"vocab_size", 32000}, {"num_local_experts", 8}, {"num_experts_per_tok", 2}});
  EXPECT_EQ(total_parameters(from_hugging_face(mixtral).model), 46'702'792'704);
  // Qwen/Qwen2.5-7B: biases of queries, keys and values.
  const Json qwen2 = {{"model_type", "qwen2"},     {"vocab_size", 152064},      {"num_hidden_layers", 28},
                      {"hidden_size", 3584},       {"num_attention_heads", 28}, {"num_key_value_heads", 4},
                      {"intermediate_size", 18944}};
  EXPECT_EQ(total_parameters(from_hugging_face(qwen2).model), 7'615'616'512);
  // Qwen/Qwen3-30B-A3B: heads wider than the hidden size over their number, norms over queries and keys.
  const Json qwen3 = {{"model_type", "qwen3_moe"},
                      {"vocab_size", 151936},
                      {"num_hidden_layers", 48},
                      {"hidden_size", 2048},
                      {"num_attention_heads", 32},
                      {"num_key_value_heads", 4},
                      {"head_dim", 128},
                      {"num_experts", 128},
                      {"num_experts_per_tok", 8},
                      {"moe_intermediate_size", 768},
                      {"intermediate_size", 6144},
                      {"decoder_sparse_step", 1},
                      {"mlp_only_layers", Json::array()}};
  EXPECT_EQ(total_parameters(from_hugging_face(qwen3).model), 30'532'122'624);
  const Json deepseek = {{"model_type", "deepseek_v3"},
                         {"vocab_size", 129280},
                         {"num_hidden_layers", 61},
                         {"hidden_size", 7168},
                         {"num_attention_heads", 128},
                         {"num_key_value_heads", 128},
                         {"intermediate_size", 18432},
                         {"moe_intermediate_size", 2048},
                         {"n_routed_experts", 256},
                         {"n_shared_experts", 1},
                         {"num_experts_per_tok", 8},
                         {"first_k_dense_replace", 3},
                         {"q_lora_rank", 1536},
                         {"kv_lora_rank", 512},
                         {"qk_nope_head_dim", 128},
                         {"qk_rope_head_dim", 64},
                         {"v_head_dim", 128}};
  EXPECT_EQ(total_parameters(from_hugging_face(deepseek).model), total_parameters(preset("deepseek-v3").model));
}

TEST(HuggingFace, ConfigurationsThatAreNotKnownAreRefused) {
  EXPECT_THROW(from_hugging_face({{"model_type", "t5"}}), UsageError);
  EXPECT_THROW(from_hugging_face({{"model_type", "llama"}}), UsageError);
  EXPECT_THROW(from_hugging_face(Json::array()), UsageError);
}

}  // namespace
}  // namespace lshdp::explore::test
