// What is in host memory: bytes, seconds worked out by hand, verdicts, and the search over it.
#include <array>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/explore/config.h"
#include "lshdp/explore/report.h"
#include "lshdp/explore/search.h"
#include "lshdp/explore/verdict.h"
#include "models.h"

namespace lshdp::explore::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr std::int64_t kGiB = 1LL << 30;

Trainer trainer_of(DataType parameters, DataType gradients) {
  Trainer trainer;
  trainer.param_dtype = parameters;
  trainer.grad_dtype = gradients;
  return trainer;
}
const Trainer kHalf = trainer_of(DataType::float16, DataType::float16);
const Trainer kMixed = trainer_of(DataType::float16, DataType::float32);
const Trainer kSingle = trainer_of(DataType::float32, DataType::float32);

TEST(Offload, LeavesOnTheDeviceWhatItComputesWith) {
  constexpr double kRanks = 4;
  const auto left = [](const Trainer& trainer, Sharding level, Offload offload) {
    return bytes_per_parameter(trainer, level, kRanks, offload).sum();
  };
  EXPECT_EQ(left(kHalf, Sharding::optimizer_states, Offload::optimizer), 2 + 2);
  EXPECT_EQ(left(kMixed, Sharding::optimizer_states, Offload::optimizer), 2 + 4);
  EXPECT_EQ(left(kSingle, Sharding::optimizer_states, Offload::optimizer), 4 + 4);
  EXPECT_EQ(left(kMixed, Sharding::optimizer_states_and_grads, Offload::optimizer), 2);
  EXPECT_EQ(left(kMixed, Sharding::fully_shard, Offload::optimizer), 2 / kRanks);
  EXPECT_EQ(left(kSingle, Sharding::fully_shard, Offload::optimizer), 4 / kRanks);
  EXPECT_EQ(left(kHalf, Sharding::fully_shard, Offload::parameters), 0);
}

// DeepSpeed's memory estimators: 16 bytes a parameter of the optimizer, 18 with the parameters.
TEST(Offload, PutsTheRestIntoHostMemory) {
  constexpr double kRanks = 4;
  const auto host = [](const Trainer& trainer, Offload offload) {
    return host_bytes_per_parameter(trainer, kRanks, offload).sum() * kRanks;
  };
  for (const Trainer& trainer : {kHalf, kMixed, kSingle}) {
    EXPECT_EQ(host(trainer, Offload::none), 0);
    EXPECT_EQ(host(trainer, Offload::optimizer), 4 + 4 + 8);
  }
  EXPECT_EQ(host(kHalf, Offload::parameters), 2 + 4 + 4 + 8);
  EXPECT_EQ(host(kMixed, Offload::parameters), 4 + 4 + 8);  // float32 shards are the master weights
  EXPECT_EQ(host(kSingle, Offload::parameters), 4 + 4 + 8);
}

TEST(Offload, OfAStageKeepsTwoUnitsOfWhatPassesThrough) {
  const Model model = llama(32, 4096, 32, 8, 14336, 1000);
  const auto stage = [&](std::int64_t devices, Sharding sharding, Offload offload) {
    return estimate(model, kMixed, {.devices = devices, .sharding = sharding, .offload = offload}).worst_stage();
  };
  const double layer = 2 * 4096.0 * 4096 + 2 * 1024.0 * 4096 + 3 * 14336.0 * 4096 + 2 * 4096;
  const double all = 32 * layer + 2 * 1000.0 * 4096 + 4096;
  const double head = 2 * (1000 * 4096 + 4096);  // its gradient, with that of the last norm
  const StageMemory one = stage(1, Sharding::optimizer_states_and_grads, Offload::optimizer);
  EXPECT_DOUBLE_EQ(one.states(), 2 * all);
  EXPECT_DOUBLE_EQ(one.buffers, 2 * 4 * layer + head);
  EXPECT_DOUBLE_EQ(one.host, 16 * all);
  const StageMemory streamed = stage(1, Sharding::fully_shard, Offload::parameters);
  EXPECT_DOUBLE_EQ(streamed.states(), 0);
  EXPECT_DOUBLE_EQ(streamed.buffers, 2 * (2 + 4) * layer);
  EXPECT_DOUBLE_EQ(streamed.host, 16 * all);
  const StageMemory shared = stage(8, Sharding::fully_shard, Offload::parameters);
  EXPECT_DOUBLE_EQ(shared.buffers, streamed.buffers);
  EXPECT_DOUBLE_EQ(shared.host, 2 * all);
}

TEST(Offload, OfANodeAddsUpItsDevices) {
  const std::array<double, 4> by_stage{10, 20, 30, 40};
  const Layout two_a_stage{.pipeline = 4, .devices = 8};
  EXPECT_EQ(node_host_bytes(by_stage, two_a_stage, 8), 2 * (10 + 20 + 30 + 40));
  EXPECT_EQ(node_host_bytes(by_stage, two_a_stage, 4), 2 * (30 + 40));
  EXPECT_EQ(node_host_bytes(by_stage, two_a_stage, 3), 20 + 2 * 30);
  EXPECT_EQ(node_host_bytes(by_stage, two_a_stage, 1), 40);
  EXPECT_EQ(node_host_bytes(by_stage, {.pipeline = 4, .devices = 64}, 8), 8 * 40);
}

/// Devices as in test_explore_step_time: 1000 operations a second, 128 bytes/s within a node. Two devices share a way
/// of 256 bytes/s to a host that updates at 1024 bytes/s.
Hardware slow_host() {
  Hardware hardware;
  hardware.device.float16_flops = 1000;
  hardware.device.memory_bandwidth = std::numeric_limits<double>::infinity();
  hardware.device.matmul_share = 1;
  hardware.device.attention_share = 0.5;
  hardware.device.host_link = 256;
  hardware.cluster = {.name = "slow", .devices_per_node = 4, .within_node = {128, 0.5}, .between_nodes = {64, 1}};
  hardware.cluster.host_memory_bandwidth = 1024;
  hardware.cluster.devices_per_host_link = 2;
  hardware.efficiency = {.half_size = 0, .memory = 1, .link = 1, .launch_seconds = 0, .host_link = 1, .host_memory = 1};
  return hardware;
}

/// A layer of 784 parameters, an embedding of 512, a head of 520; 4 sequences of 16 tokens.
Model tiny() {
  Model model = llama(1, 8, 2, 2, 32, 64);
  model.activation = Activation::gelu;
  model.seq_length = 16;
  model.global_batch_size = 4;
  return model;
}
// Seconds of a micro-batch: products 6.144 + 2.048 + 16.384, attention 8.192; the head 16.384.
constexpr double kLayerForward = 32.768, kLayerBackward = 2 * 24.576 + 2.5 * 8.192;
constexpr double kHeadForward = 16.384, kHeadBackward = 2 * 16.384;
constexpr double kParameters = 784 + 512 + 520;

TEST(Offload, OfParametersTakesThemUpTwiceAndGradientsDown) {
  // DP 2, of which each moves half at 128 bytes/s, 2 bytes a parameter. A layer comes up in 6.125 s, and is gathered in
  // 0.5 s and half of its bytes at 128 bytes/s; the embedding takes 4 and 4.5 s, and nothing hides it.
  const double up = 784.0 / 128, gather = 0.5 + 784.0 / 128;
  const double embedding = 0.5 + 512.0 / 128;
  const double forward = kLayerForward + kHeadForward + embedding + (up + gather);
  const double backward = kLayerBackward + kHeadBackward + 2 * embedding + (up + gather);
  // The layer's gradients go down last; then the host updates half of the parameters at 512 bytes/s, 30 bytes each.
  const double update = kParameters / 2 * 30 / 512;
  const Layout layout{.devices = 2, .sharding = Sharding::fully_shard, .offload = Offload::parameters};
  const StepTime time = step_time(tiny(), kHalf, slow_host(), layout);
  EXPECT_NEAR(time.seconds, 440.432125, 1e-9);
  EXPECT_NEAR(time.seconds, 2 * (forward + backward) + up + update, 1e-9);
  EXPECT_NEAR(time.gradients, up, 1e-9);
  EXPECT_NEAR(time.optimizer, update, 1e-9);
  // Up: weights twice in each of 2 micro-batches, and the sum of gradients once for the second.
  EXPECT_NEAR(time.host_transfers, 5 * kParameters / 128, 1e-9);
}

TEST(Offload, OfTheOptimizerSendsGradientsOnceWhereTheyAddUpOnTheDevice) {
  // Gradients: 3 pieces are summed in 15.6875 s and then go down in 14.1875 s, of either a third is left over.
  const double sum = 3 * 0.5 + kParameters / 128, down = kParameters / 128, gather = 0.5 + kParameters / 128;
  const double passes = kLayerForward + kLayerBackward + kHeadForward + kHeadBackward;
  const double update = kParameters / 2 * 30 / 512;
  const Layout layout{.devices = 2, .sharding = Sharding::optimizer_states, .offload = Offload::optimizer};
  Hardware hardware = slow_host();
  const StepTime time = step_time(tiny(), kHalf, hardware, layout);
  EXPECT_NEAR(time.seconds, 2 * passes + sum / 3 + down / 3 + gather + update, 1e-9);
  EXPECT_NEAR(time.optimizer, update, 1e-9);
  EXPECT_NEAR(time.host_transfers, down, 1e-9);
  // A fast host waits for its updated weights to go up.
  hardware.cluster.host_memory_bandwidth = 1e9;
  EXPECT_NEAR(step_time(tiny(), kHalf, hardware, layout).optimizer, kParameters / 128, 1e-9);
}

TEST(Offload, OnOneDeviceSendsGradientsInEachMicroBatch) {
  // No neighbour shares the way: 256 bytes/s for all parameters, of which a third is left over in each of 4
  // micro-batches.
  const double passes = kLayerForward + kLayerBackward + kHeadForward + kHeadBackward;
  const double left = kParameters * 2 / 256 / 3, update = kParameters * 30 / 1024;
  const Layout layout{.sharding = Sharding::optimizer_states_and_grads, .offload = Offload::optimizer};
  const StepTime time = step_time(tiny(), kHalf, slow_host(), layout);
  EXPECT_NEAR(time.seconds, 4 * (passes + left) + update, 1e-9);
  EXPECT_NEAR(time.exchange, 4 * left, 1e-9);
  EXPECT_NEAR(time.host_transfers, 4 * kParameters * 2 / 256, 1e-9);
}

TEST(Offload, OfAFrameworkThatOverlapsNothingAddsUp) {
  Trainer trainer = kHalf;
  trainer.framework.overlap_comm = false;
  // Of all three units: up and gathered in forward; in backward that again, the sum of one micro-batch in two, and the
  // scatter and the way down.
  const double up = kParameters / 128, gather = 3 * 0.5 + kParameters / 128;
  const double passes = kLayerForward + kLayerBackward + kHeadForward + kHeadBackward;
  const double update = kParameters / 2 * 30 / 512;
  const Layout layout{.devices = 2, .sharding = Sharding::fully_shard, .offload = Offload::parameters};
  EXPECT_NEAR(step_time(tiny(), trainer, slow_host(), layout).seconds,
              2 * (passes + 2 * (up + gather) + up / 2 + gather + up) + update, 1e-9);
}

TEST(Offload, NeedsPartsOfItsOwn) {
  const auto refused = [](Sharding sharding, Offload offload) { return refuse_offload(sharding, offload); };
  EXPECT_EQ(refused(Sharding::no_op, Offload::none), std::nullopt);
  EXPECT_EQ(refused(Sharding::no_op, Offload::optimizer), Refusal::offload_without_sharding);
  EXPECT_EQ(refused(Sharding::optimizer_states, Offload::optimizer), std::nullopt);
  EXPECT_EQ(refused(Sharding::optimizer_states_and_grads, Offload::parameters),
            Refusal::parameters_without_full_sharding);
  EXPECT_EQ(refused(Sharding::fully_shard, Offload::parameters), std::nullopt);
}

/// Equal to what each function gives by itself, and the same without offload as where nobody asks for it.
TEST(Offload, IsSearchedBesideEverythingElse) {
  const Model model = llama(8, 512, 8, 8, 1408, 1000);
  SearchSpace space;
  space.devices = {2, 8};
  space.tensor = space.context = {1, 2};
  space.pipeline = {1, 4};
  const std::optional<Hardware> hardware = slow_host();
  std::vector<Candidate> before, with;
  search(model, kMixed, space, hardware, [&](const Candidate& one) { before.push_back(one); });
  space.offload = {kOffloads.begin(), kOffloads.end()};
  const SearchCounts counts =
      search(model, kMixed, space, hardware, [&](const Candidate& one) { with.push_back(one); });
  EXPECT_EQ(counts.all(), space.size());
  // Of 4 levels, the first has no offload, and only the last one of parameters.
  EXPECT_EQ(counts.refused[static_cast<std::size_t>(Refusal::offload_without_sharding)],
            2 * static_cast<std::int64_t>(before.size() / 4));
  EXPECT_EQ(counts.refused[static_cast<std::size_t>(Refusal::parameters_without_full_sharding)],
            2 * static_cast<std::int64_t>(before.size() / 4));
  ASSERT_EQ(with.size(), 2 * before.size());
  auto same = before.begin();
  for (const Candidate& one : with) {
    const Memory memory = estimate(model, kMixed, one.layout);
    EXPECT_DOUBLE_EQ(one.worst.total(), memory.worst_stage().total());
    EXPECT_DOUBLE_EQ(one.worst.host, memory.worst_stage().host);
    EXPECT_DOUBLE_EQ(one.time.seconds, step_time(model, kMixed, *hardware, one.layout).seconds);
    EXPECT_EQ(one.node_host > 0, one.layout.offload != Offload::none);
    if (one.layout.offload != Offload::none) continue;
    ASSERT_NE(same, before.end());
    EXPECT_EQ(one.layout, same->layout);
    EXPECT_EQ(one.time.seconds, same->time.seconds);
    EXPECT_EQ(one.worst.total_with_margin(), same->worst.total_with_margin());
    ++same;
  }
  EXPECT_EQ(same, before.end());
}

TEST(Offload, IsJudgedByHostMemoryWhereThatIsKnown) {
  const Layout layout{.sharding = Sharding::fully_shard, .offload = Offload::parameters};
  Cluster cluster;
  EXPECT_EQ(host_verdict({}, 0, nullptr), Verdict::fits);
  EXPECT_EQ(host_verdict(layout, 100, nullptr), Verdict::host_unknown);
  EXPECT_EQ(host_verdict(layout, 100, &cluster), Verdict::host_unknown);
  cluster.host_memory_bytes = 150;
  EXPECT_EQ(host_verdict(layout, 100, &cluster), Verdict::fits);  // with half as much again for buffers
  EXPECT_EQ(host_verdict(layout, 101, &cluster), Verdict::tight);
  EXPECT_EQ(host_verdict(layout, 151, &cluster), Verdict::does_not_fit);
}

TEST(Offload, SaysWhatWouldFit) {
  const Model model = llama(32, 4096, 32, 8, 14336, 128256);
  const Device device{"24 GiB", 24 * kGiB};
  Layout layout{.recompute = Recompute::full, .sharding = Sharding::fully_shard, .offload = Offload::optimizer};
  Cluster cluster;
  // 16 GB of weights stay, and the loss takes 10.5.
  EXPECT_EQ(what_would_fit(model, kMixed, layout, device, &cluster), "offload parameters");
  layout.offload = Offload::parameters;
  EXPECT_THAT(what_would_fit(model, kMixed, layout, device, &cluster), HasSubstr("cluster.host_memory"));
  cluster.host_memory_bytes = 64 * kGiB;
  // 128 GB, and 64 for buffers, are those of three nodes of 8 devices: 4 stand for 32 devices, of which TP takes 8 at
  // most.
  EXPECT_EQ(what_would_fit(model, kMixed, layout, device, &cluster), "PP 32 in place of 1 on 32 devices");
  cluster.host_memory_bytes = kGiB;
  EXPECT_THAT(what_would_fit(model, kMixed, layout, device, &cluster), HasSubstr("times a node's host memory"));
}

Settings settings_of(const std::vector<std::string>& overrides) {
  const Configuration configuration = compose({LSHDP_CONFIGS}, "llama3.1-8b", overrides);
  return read_settings(configuration.tree, "llama3.1-8b");
}

TEST(Offload, IsReadFromTheConfiguration) {
  EXPECT_EQ(settings_of({}).space.offload, std::vector{Offload::none});
  EXPECT_EQ(settings_of({"trainer.offload=optimizer"}).space.offload, std::vector{Offload::optimizer});
  const Settings settings = settings_of({"+offload_range=[parameters,none]", "device=a100-80gb", "cluster=dgx-a100"});
  EXPECT_EQ(settings.space.offload, (std::vector{Offload::none, Offload::parameters}));
  EXPECT_EQ(settings.device->host_link, 31.5e9);
  EXPECT_EQ(settings.cluster->host_memory_bytes, 2'000'000'000'000);
  EXPECT_EQ(settings.cluster->host_memory_bandwidth, 409.6e9);
  EXPECT_EQ(settings.cluster->devices_per_host_link, 2);
}

TEST(Offload, WithoutWhatItsTimesNeedIsRefused) {
  const auto message_of = [](const std::vector<std::string>& overrides) -> std::string {
    try {
      settings_of(overrides);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message_of({"trainer.offload=optimiser"}),
              AllOf(HasSubstr("trainer.offload must be one of none, optimizer, parameters"), HasSubstr("optimizer")));
  EXPECT_THAT(message_of({"trainer.offload=optimizer", "device=h100-80gb", "cluster=v100-4x100g"}),
              HasSubstr("cluster.host_memory_bandwidth_gb_s is missing, and times with offload need it"));
  EXPECT_THAT(message_of({"trainer.offload=optimizer", "device=h100-80gb", "cluster=dgx-h100",
                          "~device.host_link_bandwidth_gb_s"}),
              HasSubstr("device.host_link_bandwidth_gb_s is missing"));
  EXPECT_THAT(message_of({"+offload_range=[optimizer]", "cluster=a100-v100-mixed"}),
              HasSubstr("offload_range is given beside cluster.types"));
  EXPECT_THAT(message_of({"device=h100-80gb", "cluster=dgx-h100", "cluster.host_memory=0GB"}),
              HasSubstr("cluster.host_memory must be above 0"));
  EXPECT_EQ(message_of({"trainer.offload=none", "device=h100-80gb", "cluster=v100-4x100g"}), "");
}

TEST(Offload, IsInEveryReport) {
  Settings settings = settings_of({"+offload_range=[none,parameters]", "device=a10-24gb", "cluster=dgx-a100",
                                   "trainer.data_parallel_sharding_strategy=FULLY_SHARD"});
  const Layout layout{
      .devices = 8, .recompute = Recompute::full, .sharding = Sharding::fully_shard, .offload = Offload::parameters};
  const Memory memory = estimate(settings.model, settings.trainer, layout);
  Candidate candidate{layout,      memory.worst_stage(),
                      memory.loss, memory.mlp,
                      memory.moe,  step_time(settings.model, settings.trainer, *settings.hardware(), layout)};
  candidate.node_host = 8 * memory.worst_stage().host;
  EXPECT_DOUBLE_EQ(candidate.node_host, 16.0 * 8'030'261'248);
  std::string row;
  append_csv_row(settings, candidate, row);
  EXPECT_THAT(row, HasSubstr(",parameters,16.0605225,128.48418,"));
  Found found{.top = {candidate}, .some_fit = true};
  const Json json = to_json(settings, found);
  EXPECT_EQ(json["host_memory_bytes"], 2'000'000'000'000);
  EXPECT_EQ(json["top"][0]["layout"]["offload"], "parameters");
  EXPECT_EQ(json["top"][0]["node_host_bytes"], candidate.node_host);
  EXPECT_EQ(json["top"][0]["stages"][0]["host_bytes"], 16 * 8'030'261'248 / 8);
  EXPECT_GT(json["top"][0]["time"]["host_transfer_seconds"], 0);
  EXPECT_EQ(json["top"][0]["verdict"], "fits");
  EXPECT_THAT(describe(settings, found, RankBy::time), AllOf(HasSubstr("host GiB/node"), HasSubstr("119.66")));
  settings.cluster->host_memory_bytes = 0;
  EXPECT_THAT(describe(settings, found, RankBy::time), HasSubstr("host memory is not known"));
  settings.space.offload = {Offload::none};
  EXPECT_THAT(describe(settings, {}, RankBy::time), testing::Not(HasSubstr("host")));
}

}  // namespace
}  // namespace lshdp::explore::test
