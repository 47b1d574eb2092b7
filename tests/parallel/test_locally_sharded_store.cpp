// Tests of the locally sharded store in one process: equality with the replicated store, device memory, streaming,
// misuse.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "ddp/replicated_store.h"
#include "lsdp/locally_sharded_store.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/memory.h"
#include "lshdp/parallel/walker.h"
#include "models.h"

namespace lshdp::parallel {
namespace {

/// Small tensors, many threads: teams of LibTorch would only wait for cores.
const bool one_thread = [] {
  at::set_num_threads(1);
  return true;
}();

constexpr std::int64_t kSmallBuckets = 2048;  // bytes: nearly every block is a bucket

/// Hidden layers of 256: 256 KiB of fp32 each.
model::Model deep_mlp() {
  return model::make_model_from_json({{"type", "mlp"},
                                      {"input_size", 256},
                                      {"hidden_sizes", {256, 256, 256, 256, 256, 256, 256, 256}},
                                      {"output_size", 4}},
                                     "deep mlp");
}

void train(const model::Model& model, ParameterStore& store, const WalkerOptions& options, int steps, double clip = 0) {
  BlockWalker walker(model, store, options);
  for (int step = 1; step <= steps; ++step) {
    const model::SyntheticBatch batch = model::synthetic_batch(model.input, 4, static_cast<std::uint64_t>(step));
    walker.train_step(
        {.step = step, .learning_rate = 1e-2, .global_terms = 4 * model.terms_per_sample(), .clip_norm = clip},
        batch.input, batch.target, {3, 1});
  }
  store.synchronize();
}

bool equal(const model::Values& a, const model::Values& b) {
  for (std::size_t block = 0; block < a.size(); ++block) {
    for (std::size_t i = 0; i < a[block].size(); ++i) {
      if (!at::equal(a[block][i], b[block][i])) return false;
    }
  }
  return true;
}

class LocallyShardedStoreAlone : public testing::TestWithParam<std::tuple<Precision, std::size_t, bool>> {};

TEST_P(LocallyShardedStoreAlone, HasTheBitsOfTheReplicatedStore) {
  const auto [precision, resident, recompute] = GetParam();
  for (const model::Model& model : {test::small_vit(), test::small_gpt(), test::small_mlp()}) {
    const auto communicator = comm::make_null_communicator(0, 1);
    const auto replicated = make_replicated_store(model, *communicator, {.strategy = {.precision = precision}});
    const auto local = make_locally_sharded_store(
        model, *communicator,
        {.strategy = {.precision = precision, .resident = resident}, .bucket_bytes = kSmallBuckets});
    for (ParameterStore* store : {replicated.get(), local.get()}) {
      store->set_values(model::initial_values(model, 3));
      train(model, *store, {.precision = precision, .recompute = recompute}, 5);
    }
    EXPECT_TRUE(equal(replicated->gather_values(), local->gather_values()));
    EXPECT_NEAR(local->report_of(5).local_squared_norm, replicated->report_of(5).local_squared_norm,
                1e-5 * replicated->report_of(5).local_squared_norm);
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, LocallyShardedStoreAlone,
                         testing::Combine(testing::Values(Precision::fp32, Precision::fp64, Precision::bf16),
                                          testing::Values(std::size_t{0}, std::size_t{2}, plan::kAllResident),
                                          testing::Bool()));

TEST(LocallyShardedStore, KeepsOnlyTheResidentBlocksAndTwoSlotsOnTheDevice) {
  const model::Model model = deep_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  std::int64_t before = 0;
  for (const std::size_t resident : {std::size_t{0}, std::size_t{1}, std::size_t{4}, plan::kAllResident}) {
    const StoreOptions options{.strategy = {.resident = resident}};
    const MemoryBudget budget;
    const auto store = make_locally_sharded_store(model, *communicator, options);
    const std::int64_t bytes = locally_sharded_device_bytes(model, options);
    EXPECT_EQ(budget.used(), bytes);
    EXPECT_GT(bytes, before);
    before = bytes;
  }
  EXPECT_GE(before, 4 * model.parameter_count());
  EXPECT_LT(locally_sharded_device_bytes(model, {}), 4 * model.parameter_count() / 3);
}

TEST(LocallyShardedStore, TrainsWithinABudgetThatTheReplicatedStoreCannotKeep) {
  const model::Model model = deep_mlp();
  const model::Values initial = model::initial_values(model, 1);
  const auto communicator = comm::make_null_communicator(0, 1);
  const std::int64_t limit = 6 * model.parameter_count();  // bytes; the replicated store needs 16 per parameter
  MemoryBudget budget(limit);
  const auto store = make_locally_sharded_store(model, *communicator, {});
  store->set_values(initial);
  train(model, *store, {}, 3);
  EXPECT_LE(budget.peak(), limit);
  EXPECT_GT(budget.peak(), locally_sharded_device_bytes(model, {}));
  EXPECT_THROW(make_replicated_store(model, *communicator, {}), c10::OutOfMemoryError);
}

TEST(LocallyShardedStore, NeedsAsMuchDeviceMemoryInEveryStep) {
  const model::Model model = deep_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  std::vector<std::int64_t> peaks;
  for (int repetition = 0; repetition < 5; ++repetition) {
    MemoryBudget budget;
    const auto store = make_locally_sharded_store(model, *communicator, {});
    store->set_values(model::initial_values(model, 1));
    budget.reset_peak();
    train(model, *store, {}, 2);
    peaks.push_back(budget.peak());
  }
  EXPECT_EQ(std::ranges::min(peaks), std::ranges::max(peaks));
}

TEST(LocallyShardedStore, HoldsOneCopyAndItsShareOfTheStateInHostMemory) {
  const model::Model model = deep_mlp();
  const auto parameters = static_cast<double>(model.parameter_count());
  for (const int ranks : {1, 2, 4}) {
    const auto communicator = comm::make_null_communicator(0, ranks);
    const auto fp32 = make_locally_sharded_store(model, *communicator, {});
    const auto bf16 = make_locally_sharded_store(model, *communicator, {.strategy = {.precision = Precision::bf16}});
    // Parameters, gradients, the shares of moments (and masters), and what this node's sums are received into from the
    // one other node that the others are to a rank alone.
    const double received = ranks > 1 ? 4.0 / ranks : 0;
    EXPECT_NEAR(static_cast<double>(fp32->usage().host_bytes), (4 + 4 + 8.0 / ranks + received) * parameters,
                0.02 * parameters);
    EXPECT_NEAR(static_cast<double>(bf16->usage().host_bytes), (2 + 4 + 12.0 / ranks + received) * parameters,
                0.02 * parameters);
  }
}

TEST(LocallyShardedStore, TakesNoSamplesAsAZeroGradient) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  const auto store =
      make_locally_sharded_store(model, *communicator, {.adamw = {.weight_decay = 0}, .bucket_bytes = 0});
  store->set_values(model::initial_values(model, 4));
  train(model, *store, {}, 1);
  const model::Values before = store->gather_values();
  BlockWalker(model, *store, {}).train_step({.step = 2, .learning_rate = 0, .global_terms = 1}, {}, {}, {});
  store->synchronize();
  EXPECT_EQ(store->report_of(2).local_squared_norm, 0);
  EXPECT_GT(store->report_of(1).local_squared_norm, 0);
  EXPECT_TRUE(equal(before, store->gather_values()));
}

TEST(LocallyShardedStore, BringsPublishedAndSetValuesToTheDevice) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const auto store = make_locally_sharded_store(
        model, *communicator, {.strategy = {.precision = precision, .resident = 1}, .bucket_bytes = 0});
    store->set_values(model::initial_values(model, 4));
    for (const double value : {0.25, 0.5}) {
      store->synchronize();
      for (const StatePiece& piece : store->owned_state()) piece.value.fill_(value);
      store->publish();
      for (std::size_t block = 0; block < model.blocks.size(); ++block) {
        store->acquire(block);
        for (const at::Tensor& parameter : store->parameters(block))
          EXPECT_TRUE(at::equal(parameter.detach(), at::full_like(parameter.detach(), value)));
        store->release(block);
      }
    }
  }
}

TEST(LocallyShardedStore, RefusesCallsOutOfOrder) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  const auto store = make_locally_sharded_store(model, *communicator, {.bucket_bytes = 0});
  EXPECT_THROW(store->add_gradient(0, {}, true), std::logic_error);
  store->begin_step({});
  EXPECT_THROW(store->begin_step({}), std::logic_error);
  EXPECT_THROW(store->synchronize(), std::logic_error);
  EXPECT_THROW(store->add_gradient(0, {}, true), std::logic_error);
  store->acquire(0);
  store->acquire(1);
  EXPECT_THROW(store->acquire(2), std::logic_error);  // both slots are in use
  EXPECT_THROW(make_locally_sharded_store(model, *communicator, {.node_names = {"a", "b"}}), std::invalid_argument);
}

TEST(LocallyShardedStore, LeavesAnUnfinishedStepWithoutWaiting) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  const auto store = make_locally_sharded_store(model, *communicator, {.bucket_bytes = 0});
  store->set_values(model::initial_values(model, 4));
  train(model, *store, {}, 2);
  store->begin_step({.step = 3});
  store->acquire(0);
}

}  // namespace
}  // namespace lshdp::parallel
