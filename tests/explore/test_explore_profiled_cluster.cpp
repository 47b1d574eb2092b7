// Profiles of real ranks as clusters: what devices, types and links they make, and what they lack.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/explore/config.h"
#include "lshdp/explore/layer_time.h"
#include "lshdp/explore/mixed_report.h"
#include "lshdp/explore/mixture.h"
#include "lshdp/explore/parameters.h"
#include "lshdp/explore/profiled_cluster.h"
#include "lshdp/explore/settings.h"
#include "lshdp/explore/step_time.h"
#include "models.h"

namespace lshdp::explore::test {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kGiB = 1LL << 30;

/// Does 4 samples in `seconds`, and updates a billion parameters a second.
plan::RankProfile rank(int number, const std::string& host, double seconds, std::int64_t gib = 4) {
  plan::RankProfile rank;
  rank.rank = number;
  rank.host = host;
  rank.device = "cpu";
  rank.memory_bytes = gib * kGiB;
  rank.max_batch = 4;
  rank.curve = {{1, seconds}, {4, seconds}};
  rank.update_parameters_per_second = 1e9;
  return rank;
}

/// 1000 parameters that are multiplied with, and a table of 500 that the head shares: a sample of 10 tokens takes
/// 6 x 1500 x 10 = 90,000 operations.
plan::Profile profile(std::vector<plan::RankProfile> ranks) {
  plan::Profile profile;
  profile.model = "gpt2";
  profile.data_shape = {10};
  profile.blocks = {{.name = "embedding", .parameters = 500},
                    {.name = "block 0", .parameters = 900},
                    {.name = "head", .parameters = 100, .shares_with = {0}}};
  profile.network.bytes_per_second = 125e6;
  profile.network.latency_seconds = 1e-4;
  profile.ranks = std::move(ranks);
  return profile;
}

Json configuration(std::vector<plan::RankProfile> ranks) {
  return configuration_of_profile(profile(std::move(ranks)), "profile.json", std::nullopt);
}

TEST(ProfiledCluster, OfAlikeRanksHasOneDevice) {
  // 4 samples in 0.36 s are 1e6 operations a second; the slower one, 10 % slower, stands for both.
  const Json tree = configuration({rank(0, "a", 0.36), rank(1, "b", 0.4)});
  EXPECT_EQ(tree["ngpus_range"], 2);
  EXPECT_FALSE(tree["cluster"].contains("types"));
  EXPECT_EQ(tree["cluster"]["devices_per_node"], 1);
  EXPECT_DOUBLE_EQ(tree["cluster"]["bandwidth_between_nodes_gb_s"], 0.125);
  EXPECT_DOUBLE_EQ(tree["cluster"]["latency_between_nodes_us"], 100);
  EXPECT_DOUBLE_EQ(tree["device"]["float32_tflops"], 0.9e-6);
  EXPECT_EQ(tree["device"]["memory"], std::to_string(4 * kGiB));
  EXPECT_DOUBLE_EQ(tree["device"]["memory_bandwidth_gb_s"], 32);
}

TEST(ProfiledCluster, OfUnequalRanksHasTypesFromFastToSlow) {
  const Json tree = configuration({rank(0, "a", 0.72), rank(1, "a", 0.72), rank(2, "b", 0.36), rank(3, "b", 0.36),
                                   rank(4, "c", 0.36, 8), rank(5, "c", 0.36, 8)});
  EXPECT_FALSE(tree.contains("device"));
  EXPECT_EQ(tree["cluster"]["devices_per_node"], 2);
  const Json& types = tree["cluster"]["types"];
  ASSERT_EQ(types.size(), 3U);
  EXPECT_EQ(types["type0"]["nodes"], 1);
  EXPECT_DOUBLE_EQ(types["type0"]["device"]["float32_tflops"], 1e-6);
  EXPECT_EQ(types["type1"]["device"]["memory"], std::to_string(8 * kGiB));
  EXPECT_DOUBLE_EQ(types["type2"]["device"]["float32_tflops"], 0.5e-6);
}

TEST(ProfiledCluster, OfHostsWithSeveralTypesHasNodesOfOneRank) {
  const Json tree = configuration({rank(0, "a", 0.72), rank(1, "a", 0.36), rank(2, "b", 0.36), rank(3, "b", 0.36)});
  EXPECT_EQ(tree["cluster"]["devices_per_node"], 1);
  EXPECT_EQ(tree["cluster"]["types"]["type0"]["nodes"], 3);
  EXPECT_EQ(tree["cluster"]["types"]["type1"]["nodes"], 1);
}

TEST(ProfiledCluster, IsReadAsSettingsFromItsFile) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "explore_profile.json";
  plan::write_profile(path, profile({rank(0, "a", 0.36), rank(1, "b", 0.72)}));
  Json tree = compose({LSHDP_CONFIGS}, "llama3.1-8b",
                      {"+cluster.profile=" + path.string(), "+cluster.latency_within_node_us=7"})
                  .tree;
  read_profiled_cluster(tree, "llama3.1-8b");
  const Settings settings = read_settings(tree, "llama3.1-8b");
  ASSERT_TRUE(settings.cluster);
  ASSERT_EQ(settings.cluster->types.size(), 2U);
  EXPECT_EQ(settings.cluster->types[0].devices, 1);
  EXPECT_DOUBLE_EQ(settings.cluster->types[1].device.float16_flops, 0.5e6);
  EXPECT_DOUBLE_EQ(settings.cluster->within_node.latency_seconds, 7e-6);
  EXPECT_EQ(settings.efficiency.link, 1);
  EXPECT_EQ(settings.efficiency.half_size, 0);
}

/// 2 layers, 8 wide, 30 words, 10 tokens, 2 sequences a step.
Model two_layers() {
  Model model = gpt(2, 8, 2, 10, 30);
  model.global_batch_size = 2;
  return model;
}

/// A profile of that model: in micro-batches of 1, a layer takes 0.5 s forward and 1 s backward in the mean, the
/// embedding 0.01 and 0.02, the head 0.05 and 0.1; of 3, twice as long.
plan::Profile profile_of_layers(std::vector<plan::RankProfile> ranks) {
  plan::Profile profiled = profile(std::move(ranks));
  profiled.parameter_count = total_parameters(two_layers());
  profiled.blocks = {{.name = "embedding"},   {.name = "attention 0"}, {.name = "mlp 0"},
                     {.name = "attention 1"}, {.name = "mlp 1"},       {.name = "head", .shares_with = {0}}};
  for (plan::RankProfile& rank : profiled.ranks) {
    rank.block_times = {{1, {0.01, 0.1, 0.2, 0.3, 0.4, 0.05}, {0.02, 0.2, 0.4, 0.6, 0.8, 0.1}},
                        {3, {0.02, 0.2, 0.4, 0.6, 0.8, 0.1}, {0.04, 0.4, 0.8, 1.2, 1.6, 0.2}}};
  }
  return profiled;
}

/// What settings keep of that for `model`, whose other parts are small.
Settings settings_of(const plan::Profile& profiled, const Model& model) {
  Json tree = configuration_of_profile(profiled, "profile.json", 1e6);
  tree["model"] = {{"name", "m"},
                   {"global_batch_size", model.global_batch_size},
                   {"vocab_size", model.vocab_size},
                   {"num_layers", model.num_layers},
                   {"hidden_size", model.hidden_size},
                   {"num_attention_heads", model.num_attention_heads},
                   {"seq_length", model.seq_length},
                   {"activation", "gelu"},
                   {"share_embeddings_and_output_weights", true}};
  return read_settings(tree, "m.yaml");
}

TEST(ProfiledCluster, TimesLayersAsTheProfileDid) {
  const plan::Profile profiled = profile_of_layers({rank(0, "a", 0.36)});
  const Settings settings = settings_of(profiled, two_layers());
  EXPECT_TRUE(settings.has_layer_times());
  const auto seconds = [&](const Layout& layout) {
    const StepTime time = step_time(settings.model, settings.trainer, *settings.hardware(), layout);
    return time.seconds - time.optimizer;
  };
  EXPECT_NEAR(seconds({}), 2 * (0.03 + 2 * 1.5 + 0.15), 1e-9);
  EXPECT_NEAR(seconds({.micro_batch = 2}), 1.5 * (0.03 + 2 * 1.5 + 0.15), 1e-9);
  EXPECT_NEAR(seconds({.recompute = Recompute::full}), 2 * (0.03 + 2 * 2.0 + 0.15), 1e-9);
  const ProfiledLayers& layers = settings.device->profiled_layers;
  EXPECT_DOUBLE_EQ(layers.at(6).layer.backward, 4);    // in proportion to 3
  EXPECT_DOUBLE_EQ(layers.at(2).head.forward, 0.075);  // half way
}

TEST(ProfiledCluster, TimesLayersThatAreCutInProportion) {
  const Settings settings = settings_of(profile_of_layers({rank(0, "a", 0.36), rank(1, "b", 0.36)}), two_layers());
  const Settings computed = settings_of(profile({rank(0, "a", 0.36), rank(1, "b", 0.36)}), two_layers());
  EXPECT_FALSE(computed.has_layer_times());
  const auto layer = [](const Settings& of, const Layout& layout) {
    return micro_batch_times(of.model, of.trainer, *of.hardware(), layout).dense_layer;
  };
  const Layout cut{.tensor = 2, .devices = 2};
  EXPECT_NEAR(layer(settings, cut).forward.compute,
              0.5 * layer(computed, cut).forward.compute / layer(computed, {}).forward.compute, 1e-12);
  EXPECT_EQ(layer(settings, cut).forward.exchange, layer(computed, cut).forward.exchange);
}

TEST(ProfiledCluster, TimesNoOtherModelByItsLayers) {
  const plan::Profile profiled = profile_of_layers({rank(0, "a", 0.36)});
  Model longer = two_layers();
  longer.seq_length = 5;
  EXPECT_FALSE(settings_of(profiled, longer).has_layer_times());
  Model larger = two_layers();
  larger.vocab_size = 31;
  EXPECT_FALSE(settings_of(profiled, larger).has_layer_times());
  plan::Profile unknown = profiled;
  unknown.blocks[1].name = "attention pool";
  EXPECT_FALSE(settings_of(unknown, two_layers()).has_layer_times());
}

/// The slower rank takes as long for 2 sequences as for 1, and gets both at once.
TEST(ProfiledCluster, DealsOutSharesThatAreTakenAtOnce) {
  plan::Profile profiled = profile_of_layers({rank(0, "a", 0.36), rank(1, "b", 0.72)});
  const auto times = [](double one, double two) {
    const auto of = [](std::int64_t batch, double seconds) {
      return plan::BlockTimes{batch, std::vector<double>(6, seconds / 12), std::vector<double>(6, seconds / 12)};
    };
    return std::vector{of(1, one), of(2, two)};
  };
  profiled.ranks[0].block_times = times(1, 2);
  profiled.ranks[1].block_times = times(2, 2);
  profiled.network.bytes_per_second = 1e18;
  profiled.network.latency_seconds = 0;
  Model model = two_layers();
  model.global_batch_size = 4;
  Settings settings = settings_of(profiled, model);
  settings.space.tensor = settings.space.pipeline = settings.space.context = settings.space.micro_batch = {1};
  settings.space.recompute = {Recompute::none};
  settings.space.sharding = {Sharding::no_op};
  const MixedFound found = search_mixed(settings.model, settings.trainer, settings.space, *settings.cluster,
                                        RankBy::time, 1, settings.efficiency);
  ASSERT_EQ(found.top.size(), 1U);
  const MixedCandidate& best = found.top.front();
  EXPECT_EQ(best.layout.micro_batches, (std::vector<std::int64_t>{2, 2}));
  EXPECT_TRUE(best.layout.at_once);
  EXPECT_NEAR(best.time.seconds - best.time.optimizer, 2, 1e-6);
  EXPECT_THAT(describe(settings, found, RankBy::time), HasSubstr("1 of 2 at once"));
}

std::string refusal(const plan::Profile& profile) {
  try {
    configuration_of_profile(profile, "profile.json", std::nullopt);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(ProfiledCluster, WhatAProfileDoesNotTellIsRefused) {
  plan::Profile images = profile({rank(0, "a", 1)});
  images.data_shape = {3, 32, 32};
  EXPECT_THAT(refusal(images), HasSubstr("give the operations of forward and backward of one sample as "
                                         "+cluster.profile_operations=.."));
  EXPECT_DOUBLE_EQ(configuration_of_profile(images, "profile.json", 1e12)["device"]["float32_tflops"], 4);
  plan::Profile untrained = profile({rank(0, "a", 1)});
  untrained.ranks[0].curve.clear();
  EXPECT_THAT(refusal(untrained), HasSubstr("profile.json: rank 0 has no curve"));
  plan::Profile no_updates = profile({rank(0, "a", 1)});
  no_updates.ranks[0].update_parameters_per_second = 0;
  EXPECT_THAT(refusal(no_updates), HasSubstr("rank 0 has no update_parameters_per_second"));
  plan::Profile no_network = profile({rank(0, "a", 1), rank(1, "b", 1)});
  no_network.network = {};
  EXPECT_THAT(refusal(no_network), HasSubstr("has no bytes_per_second of the network"));
}

}  // namespace
}  // namespace lshdp::explore::test
