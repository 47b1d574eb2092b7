// Layouts over devices of several types: shares by speed and by memory, the search, its report and its refusals.
#include <algorithm>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/explore/config.h"
#include "lshdp/explore/explore.h"
#include "lshdp/explore/mixed_report.h"
#include "models.h"

namespace lshdp::explore::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::int64_t kGiB = 1LL << 30;

Device device(double speed, std::int64_t gib) {
  return {
      .name = "device", .memory_bytes = gib * kGiB, .float16_flops = speed * 100e12, .memory_bandwidth = speed * 1e12};
}

/// Links so fast that messages take no time.
Cluster cluster(std::vector<DeviceType> types) {
  return {.name = "cluster",
          .devices_per_node = 8,
          .within_node = {1e18, 0},
          .between_nodes = {1e18, 0},
          .types = std::move(types)};
}

/// One layout of a large model with a small vocabulary, whose layers are all that takes time.
SearchSpace one_layout() {
  SearchSpace space;
  space.tensor = space.pipeline = space.context = space.micro_batch = {1};
  space.recompute = {Recompute::full};
  space.sequence_parallel = {false};
  space.sharding = {Sharding::no_op};
  space.layer_split = {LayerSplit::even};
  return space;
}

Model large(std::int64_t layers, std::int64_t batch) {
  Model model = llama(layers, 4096, 32, 32, 16384, 64);
  model.seq_length = 2048;
  model.global_batch_size = batch;
  return model;
}

std::vector<MixedCandidate> all_of(const Model& model, const SearchSpace& space, const Cluster& of, Spread spread) {
  std::vector<MixedCandidate> all = search_mixed(model, {}, space, of, RankBy::time, 1000).top;
  std::erase_if(all, [=](const MixedCandidate& one) { return one.layout.spread != spread; });
  return all;
}

/// A device twice as fast does two micro-batches where the other does one: of 9, 6 and 3.
TEST(Mixture, ReplicasShareTheBatchBySpeed) {
  const Cluster of = cluster({{"fast", device(2, 800), 1}, {"slow", device(1, 800), 1}});
  const auto all = all_of(large(8, 9), one_layout(), of, Spread::replicas);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_THAT(all[0].layout.replicas, ElementsAre(1, 1));
  EXPECT_THAT(all[0].layout.micro_batches, ElementsAre(6, 3));
}

/// With two fast ones, of 10 micro-batches each does 4, and the slow one 2.
TEST(Mixture, EachReplicaOfATypeHasItsShare) {
  const Cluster of = cluster({{"fast", device(2, 800), 2}, {"slow", device(1, 800), 1}});
  const auto all = all_of(large(8, 10), one_layout(), of, Spread::replicas);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_THAT(all[0].layout.micro_batches, ElementsAre(4, 2));
}

TEST(Mixture, TypesThatAreAlikeAreAsOneType) {
  Cluster of = cluster({{"one", device(1, 80), 8}, {"other", device(1, 80), 8}});
  of.within_node = {300e9, 3e-6};
  of.between_nodes = {25e9, 10e-6};
  SearchSpace space = one_layout();
  space.tensor = {2};
  space.pipeline = {2};
  const Model model = large(8, 64);
  const auto all = all_of(model, space, of, Spread::replicas);
  ASSERT_EQ(all.size(), 1U);
  EXPECT_THAT(all[0].layout.micro_batches, ElementsAre(16, 16));
  Cluster alike = of;
  alike.types.clear();
  const Hardware hardware{.device = of.types[0].device, .cluster = alike};
  const Layout& layout = all[0].layout.layout;
  EXPECT_NEAR(all[0].time.seconds, step_time(model, {}, hardware, layout).seconds, 1e-9);
  EXPECT_DOUBLE_EQ(all[0].types[0].worst.total(), estimate(model, {}, layout).worst_stage().total());
}

/// Two stages: of 30 layers the device that is twice as fast has 20.
TEST(Mixture, StagesShareTheLayersBySpeed) {
  const Cluster of = cluster({{"fast", device(2, 800), 1}, {"slow", device(1, 800), 1}});
  SearchSpace space = one_layout();
  space.pipeline = {2};
  const auto all = all_of(large(30, 8), space, of, Spread::stages);
  ASSERT_EQ(all.size(), 2U);  // either first
  for (const MixedCandidate& one : all) {
    const std::size_t fast = one.layout.types[0] == 0 ? 0 : 1;
    EXPECT_EQ(one.layout.layers[fast], 20);
    EXPECT_EQ(one.layout.layers[1 - fast], 10);
  }
}

/// A layer's 18 bytes of 268 million parameters (4 h^2 + 3 h f = 67.1 + 201.3) are 4.5 GiB: in 24 GiB there is room for
/// 4, with 4 x 4.5 = 18 GiB, 1 GiB of context and little else, but not for 5 (22.5).
TEST(Mixture, StagesHaveNoMoreLayersThanFit) {
  const Cluster of = cluster({{"fast", device(2, 24), 1}, {"slow", device(1, 800), 1}});
  SearchSpace space = one_layout();
  space.pipeline = {2};
  for (const MixedCandidate& one : all_of(large(30, 8), space, of, Spread::stages)) {
    const std::size_t fast = one.layout.types[0] == 0 ? 0 : 1;
    EXPECT_EQ(one.layout.layers[fast], 4);
    EXPECT_EQ(one.layout.layers[1 - fast], 26);
    EXPECT_EQ(one.verdict, Verdict::fits);
    EXPECT_LE(one.types[0].worst.total_with_margin(), static_cast<double>(24 * kGiB));
  }
}

TEST(Mixture, WhatFitsNowhereIsSaid) {
  const Cluster of = cluster({{"fast", device(2, 8), 1}, {"slow", device(1, 8), 1}});
  SearchSpace space = one_layout();
  space.pipeline = {2};
  const MixedFound found = search_mixed(large(30, 8), {}, space, of, RankBy::time, 10);
  EXPECT_EQ(found.fits + found.tight, 0);
  ASSERT_FALSE(found.top.empty());
  EXPECT_EQ(found.top[0].verdict, Verdict::does_not_fit);
  EXPECT_GT(found.top[0].fullest, 1);
}

Settings mixed_preset(const std::vector<std::string>& overrides = {}) {
  std::vector<std::string> all{"cluster=a100-v100-mixed", "model.global_batch_size=256", "model.seq_length=4096"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return read_settings(compose({LSHDP_CONFIGS}, "llama3.1-8b", all).tree, "llama3.1-8b");
}

TEST(Mixture, SearchUsesAllDevicesAndRanksWhatFits) {
  const Settings settings = mixed_preset();
  const MixedFound found =
      search_mixed(settings.model, settings.trainer, settings.space, *settings.cluster, RankBy::time, 50);
  ASSERT_EQ(found.top.size(), 50U);
  EXPECT_GT(found.valid, found.fits);
  bool has[2] = {false, false};
  for (std::size_t i = 0; i < found.top.size(); ++i) {
    const MixedCandidate& one = found.top[i];
    const MixedLayout& layout = one.layout;
    has[static_cast<int>(layout.spread)] = true;
    EXPECT_NE(one.verdict, Verdict::does_not_fit);
    EXPECT_GE(one.time.seconds, found.top[i > 0 ? i - 1 : 0].time.seconds);
    EXPECT_EQ(layout.layout.devices, 32);
    const StepTime& time = one.time;
    EXPECT_NEAR(time.compute + time.exchange + time.bubble + time.gradients + time.optimizer, time.seconds, 1e-9);
    if (layout.spread == Spread::stages) {
      EXPECT_EQ(std::accumulate(layout.layers.begin(), layout.layers.end(), std::int64_t{0}), 32);
    } else {
      std::int64_t given = 0;
      for (std::size_t type = 0; type < 3; ++type) given += layout.replicas[type] * layout.micro_batches[type];
      EXPECT_GE(given * layout.layout.micro_batch, 256);
      EXPECT_LT((given - std::ranges::max(layout.replicas)) * layout.layout.micro_batch, 256);
      // V100 are slower than A100.
      EXPECT_GE(layout.micro_batches[0], layout.micro_batches[2]);
    }
  }
  EXPECT_TRUE(has[0] || has[1]);
  const Json json = to_json(settings, found);
  EXPECT_EQ(json["devices"], 32);
  EXPECT_EQ(json["top"].size(), 50U);
  EXPECT_EQ(json["top"][0]["types"].size(), 3U);
  EXPECT_THAT(describe(settings, found, RankBy::time), HasSubstr("The first 50 by time of those that fit"));
}

std::string refusal(const std::vector<std::string>& overrides, const std::filesystem::path& csv = {}) {
  ExploreRequest request{.folders = {LSHDP_CONFIGS}, .config_name = "llama3.1-8b", .overrides = overrides};
  request.overrides.insert(request.overrides.begin(), "cluster=a100-v100-mixed");
  request.csv = csv;
  try {
    explore(request);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Mixture, InvalidTypesAreRefusedByKey) {
  EXPECT_THAT(refusal({"device=a100-80gb"}), HasSubstr("device is given beside cluster.types"));
  EXPECT_THAT(refusal({"+ngpus_range=[8]"}), HasSubstr("ngpus_range is given beside cluster.types"));
  EXPECT_THAT(refusal({"cluster.types.v100.nodes=0"}), HasSubstr("cluster.types.v100.nodes must be at least 1, not 0"));
  EXPECT_THAT(refusal({"+cluster.types.v100.node=1"}), HasSubstr("did you mean cluster.types.v100.nodes"));
  EXPECT_THAT(refusal({"+cluster.types.t4={nodes: 1}"}),
              HasSubstr("cluster.types.t4.device is missing; choose one by +device@cluster.types.t4.device=NAME"));
  EXPECT_THAT(refusal({"+cluster.types={e: {}, f: {}}"}),
              HasSubstr("cluster.types must be a dictionary of 1 to 4 types"));
  EXPECT_THAT(refusal({}, "out.csv"), HasSubstr("--csv: not written for a cluster of several types"));
}

TEST(Mixture, AnEmptySearchNamesItsReasons) {
  EXPECT_THAT(refusal({"+tp_range=[3]"}),
              HasSubstr("no combination is possible: num_attention_heads is not divisible"));
}

}  // namespace
}  // namespace lshdp::explore::test
