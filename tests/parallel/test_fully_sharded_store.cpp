// Tests of the fully sharded store on one rank: pieces, unequal shards, memory, precision, misuse.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "fsdp/fully_sharded_store.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/error.h"
#include "lshdp/core/memory.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/walker.h"
#include "models.h"

namespace lshdp::parallel {
namespace {

/// One step in which every parameter's gradient sum is `passes` times `gradient`.
void step_with(const model::Model& model, ParameterStore& store, double gradient, const Update& update) {
  store.begin_step(update);
  for (std::int64_t pass = 1; pass <= update.passes; ++pass) {
    for (std::size_t block = 0; block < model.blocks.size(); ++block) store.acquire(block);
    for (std::size_t block = model.blocks.size(); block-- > 0;) {
      store.acquire(block);
      std::vector<at::Tensor> gradients;
      for (const at::Tensor& parameter : store.parameters(block))
        gradients.push_back(at::full_like(parameter.detach(), gradient));
      store.add_gradient(block, gradients, pass == update.passes);
    }
  }
  store.synchronize();
}

TEST(FullyShardedStore, AddsUpThePassesOfAStep) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  const auto moved = [&](double gradient, std::int64_t passes) {
    const auto store = make_fully_sharded_store(model, *communicator, {.strategy = {.precision = Precision::fp64}});
    store->set_values(model::initial_values(model, 4));
    for (int step = 1; step <= 2; ++step)
      step_with(model, *store, gradient, {.step = step, .learning_rate = 0.1, .global_terms = 6, .passes = passes});
    EXPECT_NEAR(store->report_of(2).local_squared_norm, static_cast<double>(model.parameter_count()), 1e-9);
    return store->gather_values()[0][0];
  };
  EXPECT_TRUE(at::allclose(moved(6, 1), moved(2, 3), 1e-12, 1e-12));
}

TEST(FullyShardedStore, PiecesOfUnequalShardsCoverEveryElementOnce) {
  const model::Model model = test::small_gpt();
  std::vector<std::vector<at::Tensor>> hits;
  for (const auto& block : model.blocks) {
    auto& mine = hits.emplace_back();
    for (const model::Parameter& parameter : block->parameters()) mine.push_back(at::zeros(parameter.shape).flatten());
  }
  std::vector<std::int64_t> owned;
  for (int rank = 0; rank < 3; ++rank) {
    const auto communicator = comm::make_null_communicator(rank, 3);
    const auto store = make_fully_sharded_store(model, *communicator, {.bucket_bytes = 0, .shard_weights = {1, 2, 5}});
    owned.push_back(0);
    for (const StatePiece& piece : store->owned_state()) {
      hits[piece.block][piece.parameter].narrow(0, piece.begin, piece.value.numel()).add_(1);
      owned.back() += piece.value.numel();
    }
  }
  for (const auto& block : hits) {
    for (const at::Tensor& hit : block) EXPECT_TRUE(at::equal(hit, at::ones_like(hit)));
  }
  const auto total = static_cast<double>(model.parameter_count());
  EXPECT_NEAR(static_cast<double>(owned[0]) / total, 0.125, 0.02);
  EXPECT_NEAR(static_cast<double>(owned[2]) / total, 0.625, 0.02);
}

TEST(FullyShardedStore, RefusesWeightsThatMakeNoSense) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 2);
  EXPECT_THROW(make_fully_sharded_store(model, *communicator, {.shard_weights = {1, 2, 3}}), UsageError);
  EXPECT_THROW(make_fully_sharded_store(model, *communicator, {.shard_weights = {0, 0}}), UsageError);
}

/// Peak bytes of a training step on rank 0 of 4.
std::int64_t peak_of(const model::Model& model, const StoreOptions& options) {
  const auto communicator = comm::make_null_communicator(0, 4);
  MemoryBudget budget;
  const auto store = make_store(model, *communicator, options);
  BlockWalker walker(model, *store, {});
  const model::SyntheticBatch batch = model::synthetic_batch(model.input, 1, 1);
  for (int step = 1; step <= 2; ++step) {
    walker.train_step({.step = step}, batch.input, batch.target, {1});
    store->synchronize();
  }
  return budget.peak();
}

TEST(FullyShardedStore, NeedsLessMemoryThanTheReplicatedAndLeastWithOffload) {
  const model::Model model = test::deep_vit();
  const std::int64_t parameters = 4 * model.parameter_count();
  const std::int64_t ddp = peak_of(model, {.strategy = {.mode = Mode::ddp}});
  const std::int64_t fsdp = peak_of(model, {.strategy = {.mode = Mode::fsdp}, .bucket_bytes = 0});
  const std::int64_t offload = peak_of(model, {.strategy = {.mode = Mode::fsdp, .offload = true}, .bucket_bytes = 0});
  EXPECT_LT(fsdp, ddp / 2);
  // The shards are four quarters of the parameters.
  EXPECT_LT(offload, fsdp - parameters * 9 / 10);
  EXPECT_LT(offload, parameters);
}

TEST(FullyShardedStore, KeepsMasterWeightsThatBf16CouldNotHold) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  for (const bool offload : {false, true}) {
    const auto store = make_fully_sharded_store(
        model, *communicator,
        {.strategy = {.offload = offload, .precision = Precision::bf16}, .adamw = {.weight_decay = 0}});
    model::Values ones = model::initial_values(model, 1);
    for (auto& block : ones) {
      for (at::Tensor& value : block) value = at::ones_like(value);
    }
    store->set_values(ones);
    EXPECT_EQ(store->parameters(0)[0].scalar_type(), at::kBFloat16);
    for (int step = 1; step <= 8; ++step)
      step_with(model, *store, 1, {.step = step, .learning_rate = 1e-3, .global_terms = 1});
    EXPECT_NEAR(store->gather_values()[0][0].min().item<double>(), 1 - 8e-3, 1e-5);
    store->acquire(0);
    EXPECT_NEAR(store->parameters(0)[0].detach().to(at::kFloat).min().item<double>(), 1 - 8e-3, 4e-3);
  }
}

TEST(FullyShardedStore, TakesNoSamplesAsAZeroGradient) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  const auto store = make_fully_sharded_store(model, *communicator, {.adamw = {.weight_decay = 0}});
  store->set_values(model::initial_values(model, 4));
  step_with(model, *store, 3, {.step = 1, .learning_rate = 0, .global_terms = 1});  // leaves something in the slots
  BlockWalker walker(model, *store, {});
  walker.train_step({.step = 2, .learning_rate = 1, .global_terms = 1, .passes = 3}, {}, {}, {});
  store->synchronize();
  EXPECT_EQ(store->report_of(2).local_squared_norm, 0);
  EXPECT_GT(store->report_of(1).local_squared_norm, 0);
}

TEST(FullyShardedStore, RefusesCallsOutOfOrder) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  const auto store = make_fully_sharded_store(model, *communicator, {});
  EXPECT_THROW(store->add_gradient(0, {}, true), std::logic_error);
  store->begin_step({});
  EXPECT_THROW(store->begin_step({}), std::logic_error);
  EXPECT_THROW(store->synchronize(), std::logic_error);
  EXPECT_THROW(store->acquire(1), std::logic_error);
  store->acquire(0);
  EXPECT_THROW(store->add_gradient(0, {}, true), std::logic_error);
}

}  // namespace
}  // namespace lshdp::parallel
