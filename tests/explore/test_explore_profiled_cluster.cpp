// Profiles of real ranks as clusters: what devices, types and links they make, and what they lack.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/explore/config.h"
#include "lshdp/explore/profiled_cluster.h"
#include "lshdp/explore/settings.h"

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
