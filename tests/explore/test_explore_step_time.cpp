// Times of steps worked out by hand, in seconds, on devices and links with round figures.
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/trace.h"
#include "lshdp/explore/simulated_step.h"
#include "lshdp/explore/step_time.h"
#include "models.h"

namespace lshdp::explore::test {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

/// 1000 operations a second in matrix products and 500 in attention; memory takes no time. A message takes 0.5 s and
/// 128 bytes/s within nodes, 1 s and 64 bytes/s between them.
Hardware slow_nodes(std::int64_t devices_per_node) {
  Hardware hardware;
  hardware.device.float16_flops = 1000;
  hardware.device.memory_bandwidth = kInfinite;
  hardware.device.matmul_share = 1;
  hardware.device.attention_share = 0.5;
  hardware.cluster = {
      .name = "slow nodes", .devices_per_node = devices_per_node, .within_node = {128, 0.5}, .between_nodes = {64, 1}};
  hardware.efficiency = {.half_size = 0, .memory = 1, .link = 1, .launch_seconds = 0};
  return hardware;
}

/// 8 wide, 2 heads of 4, an MLP of 32 without a gate, 16 tokens, 64 words; no biases.
Model tiny(std::int64_t layers, std::int64_t batch) {
  Model model = llama(layers, 8, 2, 2, 32, 64);
  model.activation = Activation::gelu;
  model.seq_length = 16;
  model.global_batch_size = batch;
  return model;
}

TEST(StepTime, OfADenseModelOverTensorPipelineAndDataParallelRanks) {
  // TP 2, PP 2, DP 2; 4 micro-batches of a sequence. Seconds of one micro-batch on one device:
  //   queries, keys, values  2 x 16 x 12 x 8 operations            3.072
  //   attention              2 x 16 x 16 x (8 + 8)/2 / 2 of 500/s  4.096
  //   its output             2 x 16 x 8 x 4                        1.024
  //   MLP                    2 x 2 x 16 x 16 x 8                   8.192
  const double forward = 3.072 + 4.096 + 1.024 + 8.192;
  const double backward = 2 * (3.072 + 1.024 + 8.192) + 2.5 * 4.096;
  // A sum over TP: 2 x 16 x 8 bytes, twice (a message, half of the bytes).
  const double sum = 2 * (0.5 + 128.0 / 128);
  const double head = 2 * 16 * 32 * 8 / 1000.0;
  // Two layers each; the first adds up its embedding, the last the gradient of its head.
  const double first_forward = 2 * (forward + 2 * sum) + sum, first_backward = 2 * (backward + 2 * sum);
  const double last_forward = 2 * (forward + 2 * sum) + head;
  const double last_backward = 2 * (backward + 2 * sum) + 2 * head + sum;
  // Half of 256 bytes between nodes, and gathered over TP there.
  const double send = (1 + 128.0 / 64) + (0.5 + 128.0 / 128);
  const double slowest = last_forward + last_backward;
  const double pipeline = first_forward + first_backward + slowest + 3 * slowest + 2 * send;
  // 2 x 400 parameters of layers and 32 x 8 of the embedding, 4 bytes each, summed over the 2 DP ranks of a node in 3
  // pieces: a third is left over.
  const double gradients = (3 * 2 * 0.5 + 1056 * 4 / 128.0) / 3;

  const Layout layout{.tensor = 2, .pipeline = 2, .devices = 8};
  const StepTime time = step_time(tiny(4, 8), Trainer{}, slow_nodes(4), layout);
  EXPECT_NEAR(time.seconds, 766.304, 1e-9);
  EXPECT_NEAR(time.seconds, pipeline + gradients, 1e-9);
  EXPECT_NEAR(time.compute, 4 * (2 * (forward + backward) + 3 * head), 1e-9);
  EXPECT_NEAR(time.exchange, 4 * 9 * sum, 1e-9);
  EXPECT_NEAR(time.bubble, pipeline - 4 * slowest, 1e-9);
  EXPECT_NEAR(time.gradients, gradients, 1e-9);
  EXPECT_EQ(time.optimizer, 0);
}

TEST(StepTime, OfExpertsOverExpertParallelRanks) {
  // EP 2 within DP 2: 4 experts of 16, each token goes to 2. Each rank has 2 experts, with 16 tokens each.
  Model model = tiny(1, 2);
  model.moe = {.num_experts = 4, .k = 2, .expert_frequency = 1, .ffn_hidden_size = 16};
  const double products = (2 * 16 * 24 * 8 + 2 * 16 * 8 * 8  // attention
                           + 2 * 16 * 4 * 8                  // router
                           + 2 * 2 * 2 * 16 * 16 * 8) /
                          1000.0;
  const double attention = 2 * 16 * 16 * (8 + 8) / 2 / 500.0;
  const double head = 2 * 16 * 64 * 8 / 1000.0;
  // 2 x 16 tokens of 16 bytes, half of them to the other rank; there and back.
  const double to_experts = 2 * (0.5 + 256 / 128.0);
  const double forward = products + attention + to_experts + head;
  const double backward = 2 * products + 2.5 * attention + to_experts + 2 * head;
  // Experts have no other rank. Attention 256, norms 16, router 32, embedding 512, head and its norm 520.
  const double gradients = (3 * 2 * 0.5 + 1336 * 4 / 128.0) / 3;

  const Layout layout{.expert = 2, .devices = 2};
  const StepTime time = step_time(model, Trainer{}, slow_nodes(2), layout);
  EXPECT_NEAR(time.seconds, 179.540666667, 1e-6);
  EXPECT_NEAR(time.seconds, forward + backward + gradients, 1e-9);
  EXPECT_NEAR(time.exchange, 2 * to_experts, 1e-9);
  EXPECT_NEAR(time.bubble, 0, 1e-9);
}

TEST(StepTime, OfASequenceOverContextParallelRanks) {
  // CP 2: 8 tokens each, which attend to 16.
  const double products = (2 * 8 * 24 * 8 + 2 * 8 * 8 * 8 + 2 * 2 * 8 * 32 * 8) / 1000.0;
  const double attention = 2 * 8 * 16 * (8 + 8) / 2 / 500.0;
  const double head = 2 * 8 * 64 * 8 / 1000.0;
  // Keys and values, 2 x 8 x 16 bytes, pass while half of the attention is computed; in backward with their gradients.
  const double ring = (0.5 + 256 / 128.0) - attention / 2;
  ASSERT_GT(ring, 0);
  ASSERT_LT(0.5 + 512 / 128.0, 2.5 * attention / 2);
  const double forward = products + attention + ring + head;
  const double backward = 2 * products + 2.5 * attention + 2 * head;
  // 784 + 512 + 520 parameters, summed over both ranks in 3 pieces behind two thirds of backward.
  const double gradients = 3 * 2 * 0.5 + 1816 * 4 / 128.0 - backward * 2 / 3;

  const Layout layout{.context = 2, .devices = 2};
  const StepTime time = step_time(tiny(1, 1), Trainer{}, slow_nodes(2), layout);
  EXPECT_NEAR(time.seconds, 101.844666667, 1e-6);
  EXPECT_NEAR(time.seconds, forward + backward + gradients, 1e-9);
  EXPECT_NEAR(time.exchange, ring, 1e-9);
  EXPECT_NEAR(time.gradients, gradients, 1e-9);
}

TEST(StepTime, OfFullyShardedWeightsCountsWhatComputingDoesNotHide) {
  // DP 2: layer 784 parameters, embedding 512, head 520; gathered with 2 bytes, gradients scattered with 4.
  const double layer = 0.5 + 784 / 128.0, embedding = 0.5 + 512 / 128.0, scattered = 0.5 + 512 * 2 / 128.0;
  const double computing = (24.576 + 8.192 + 16.384) + (2 * 24.576 + 2.5 * 8.192 + 2 * 16.384);
  // The embedding computes nothing that would hide it; the largest gather comes first in either pass.
  const double exchange = (embedding + layer) + (embedding + scattered + layer);
  const Layout layout{.devices = 2, .sharding = Sharding::fully_shard};
  const StepTime time = step_time(tiny(1, 2), Trainer{}, slow_nodes(2), layout);
  EXPECT_NEAR(time.seconds, computing + exchange, 1e-9);
  EXPECT_NEAR(time.exchange, exchange, 1e-9);
  EXPECT_EQ(time.gradients, 0);
}

TEST(StepTime, OfRecomputationIsWhatIsComputedAgain) {
  const auto seconds = [](Recompute recompute) {
    return step_time(tiny(1, 1), Trainer{}, slow_nodes(2), {.recompute = recompute}).seconds;
  };
  EXPECT_NEAR(seconds(Recompute::selective) - seconds(Recompute::none), 8.192, 1e-9);  // the attention's core
  EXPECT_NEAR(seconds(Recompute::full) - seconds(Recompute::none), 24.576 + 8.192, 1e-9);
}

TEST(StepTime, OfTheOptimizerIsThatOfItsMemory) {
  Hardware hardware = slow_nodes(2);
  hardware.device.float16_flops = kInfinite;
  hardware.device.memory_bandwidth = 1000;
  const Model model = tiny(1, 2);
  // Gradients twice, master weights and moments in and out, weights out: 8 + 8 + 16 + 2 bytes each of 1816.
  const StepTime alone = step_time(model, Trainer{}, hardware, {});
  EXPECT_NEAR(alone.optimizer, 34 * 1816 / 1000.0, 1e-9);
  const StepTime shared = step_time(model, Trainer{}, hardware, {.devices = 2, .sharding = Sharding::optimizer_states});
  EXPECT_NEAR(shared.optimizer, alone.optimizer / 2, 1e-9);
}

TEST(StepTime, OfKernelsIsTheLongerOfOperationsAndMemory) {
  Hardware hardware = slow_nodes(2);
  hardware.efficiency.half_size = 16;
  // 1/((1 + 16/16) (1 + 16/48) (1 + 16/8)) of the peak.
  EXPECT_NEAR(matmul_share(hardware, 16, 48, 8), 1 / (2 * (4 / 3.0) * 3), 1e-12);
  hardware.efficiency.launch_seconds = 1;
  // Eleven kernels in a layer's forward without a gate, with rotary positions.
  const MicroBatchTimes times = micro_batch_times(tiny(1, 1), Trainer{}, slow_nodes(2), {});
  hardware.device.float16_flops = kInfinite;
  const MicroBatchTimes launched = micro_batch_times(tiny(1, 1), Trainer{}, hardware, {});
  EXPECT_GT(times.dense_layer.forward.compute, launched.dense_layer.forward.compute);
  EXPECT_EQ(launched.dense_layer.forward.compute, 11);
}

/// Of heads 12 wide, 24 bytes, which tensor cores do not take: two products of 16 x 16 x 12 operations twice for each
/// of 4 heads, 49,152, at 100 a second in place of 1000. Of heads 16 wide they run as all others.
TEST(StepTime, ProductsThatDoNotFillTensorCoresRunAtThePeakOfFloat32) {
  Hardware hardware = slow_nodes(1);
  Trainer trainer;
  trainer.flash_attention = false;
  const auto forward = [&](std::int64_t hidden) {
    return micro_batch_times(gpt(1, hidden, 4, 16, 10), trainer, hardware, {}).dense_layer.forward.compute;
  };
  const double narrow = forward(48), wide = forward(64);
  hardware.device.float32_flops = 100;
  EXPECT_NEAR(forward(48) - narrow, 49152 / 100.0 - 49152 / 1000.0, 1e-9);
  EXPECT_DOUBLE_EQ(forward(64), wide);
}

TEST(StepTime, OfModelOperationsIsPaLMs) {
  // 6 x (784 + 520) + 12 x 16 x 8.
  EXPECT_DOUBLE_EQ(model_flops_per_token(tiny(1, 1)), 6 * 1304 + 12 * 16 * 8);
  Model tied = tiny(1, 1);
  tied.share_embeddings_and_output_weights = true;
  EXPECT_DOUBLE_EQ(model_flops_per_token(tied), model_flops_per_token(tiny(1, 1)));
  // 16 tokens on 2 devices in 100 s.
  EXPECT_DOUBLE_EQ(model_flops_utilization(tiny(1, 1), Trainer{}, slow_nodes(2).device, {.devices = 2}, 100),
                   16 * (6 * 1304 + 12 * 16 * 8) / (2 * 1000 * 100.0));
}

TEST(StepTime, SimulatedIsTheClosedFormWithinTwoPercent) {
  for (const std::int64_t chunks : {1, 2}) {
    Layout layout{.tensor = 2, .pipeline = 4, .interleaving = chunks, .devices = 16};
    const Model model = tiny(8, 32);
    const double closed = step_time(model, Trainer{}, slow_nodes(4), layout).seconds;
    EXPECT_NEAR(simulate_step(model, Trainer{}, slow_nodes(4), layout).seconds, closed, 0.02 * closed) << chunks;
  }
}

TEST(StepTime, SimulatedIsTracedAsARealRunIs) {
  const Hardware hardware = slow_nodes(4);
  Settings settings{
      .model = tiny(4, 8), .trainer = {}, .space = {}, .device = hardware.device, .cluster = hardware.cluster};
  const Layout layout{.tensor = 2, .pipeline = 2, .devices = 8};
  const Json events = simulated_trace(settings, layout);
  double end = 0;
  std::int64_t computed = 0;
  for (const Json& event : events) {
    if (event["ph"] != "X") continue;
    end = std::max(end, (event["ts"].get<double>() + event["dur"].get<double>()) / 1e6);
    computed += event["cat"] == "compute" ? 1 : 0;
  }
  EXPECT_EQ(computed, 2 * 2 * 4);  // two stages, forward and backward, 4 micro-batches
  EXPECT_EQ(events[0]["args"]["name"].get<std::string>().substr(0, 7), "stage 0");
  EXPECT_NEAR(end, simulate_step(settings.model, settings.trainer, *settings.hardware(), layout).seconds, 1e-6 * end);
}

/// One stage each: 2 micro-batches of 1 + 2 s, and of 2 + 4 s in the slower replica, then 0.5 s of sums and 0.25 s.
TEST(StepTime, SimulatedReplicasWaitForTheSlowest) {
  const SimulatedCluster step = simulate_cluster(
      {{.stages = {{1, 2}}, .micro_batches = 2}, {.stages = {{2, 4}}, .micro_batches = 2}}, 1, {0.5}, {0.25});
  EXPECT_DOUBLE_EQ(step.exchange_begin[0], 12);
  EXPECT_DOUBLE_EQ(step.seconds, 12.75);
  EXPECT_DOUBLE_EQ(step.replicas[0][0].work.back().end_seconds, 6);
}

/// Of 4 equal stages and 4 micro-batches, 1F1B takes (4 + 3) 3 s; stage 0 ends then, stage 3 before it by 3 backwards.
TEST(StepTime, SimulatedReplicasAreEachAPipeline) {
  const SimulatedReplica replica{.stages = std::vector<StagePass>(4, {1, 2}), .micro_batches = 4};
  const SimulatedCluster step = simulate_cluster({replica, replica, replica}, 1, {1, 0, 0, 10}, {0, 0, 0, 0});
  EXPECT_DOUBLE_EQ(step.exchange_begin[0], 21);
  EXPECT_DOUBLE_EQ(step.exchange_begin[3], 15);
  EXPECT_DOUBLE_EQ(step.seconds, 25);
  ASSERT_EQ(step.replicas.size(), 3U);
  EXPECT_EQ(step.replicas[2][1].work.size(), 8U);
}

}  // namespace
}  // namespace lshdp::explore::test
