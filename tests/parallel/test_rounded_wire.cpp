// --wire bf16: half the bytes, identical replicas that stay with their master weights, and nearly the same training.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ddp/replicated_store.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/parallel/walker.h"
#include "models.h"
#include "rank_suite.h"

namespace lshdp::parallel {
namespace {

constexpr std::int64_t kBatch = 12;
constexpr double kRate = 1e-3;

class RoundedWire : public test::RankSuite<testing::Test> {
 protected:
  /// Weights of shards, of which rank 2 owns none.
  std::vector<std::int64_t> unequal() const {
    std::vector<std::int64_t> weights{1, 3, 0, 2};
    weights.resize(static_cast<std::size_t>(communicator_->size()));
    return weights;
  }

  std::unique_ptr<ParameterStore> trained(Wire wire, Precision precision, int steps, bool table = false,
                                          const std::vector<std::int64_t>& weights = {}) {
    const int rank = communicator_->rank(), ranks = communicator_->size();
    StoreOptions options{
        .strategy = {.precision = precision, .wire = wire}, .bucket_bytes = 4096, .shard_weights = weights};
    if (table) options.table_bytes = 0;
    auto store = make_replicated_store(model_, *communicator_, options);
    store->set_values(model::initial_values(model_, 5));
    BlockWalker walker(model_, *store, {.precision = precision});
    const std::int64_t begin = kBatch * rank / ranks, samples = kBatch * (rank + 1) / ranks - begin;
    for (int step = 1; step <= steps; ++step) {
      const model::SyntheticBatch batch =
          model::synthetic_batch(model_.input, kBatch, 100 + static_cast<std::uint64_t>(step));
      walker.train_step({.step = step, .learning_rate = kRate, .global_terms = kBatch * model_.terms_per_sample()},
                        batch.input.narrow(0, begin, samples), batch.target.narrow(0, begin, samples), {samples});
      if (step % 7 == 0) store->synchronize();  // as for an evaluation
    }
    store->synchronize();
    return store;
  }

  /// What forward and backward would use on this rank, in one vector.
  at::Tensor used(ParameterStore& store) const {
    std::vector<at::Tensor> parts;
    for (std::size_t block = 0; block < model_.blocks.size(); ++block) {
      store.acquire(block);
      for (const at::Tensor& parameter : store.parameters(block)) parts.push_back(parameter.detach().flatten());
    }
    return at::cat(parts).to(at::kDouble);
  }

  static at::Tensor flat(const model::Model& model, const model::Values& values) {
    std::vector<at::Tensor> parts;
    for (std::size_t block = 0; block < model.blocks.size(); ++block) {
      for (const at::Tensor& value : values[block]) parts.push_back(value.flatten());
      for (const std::string& name : model.blocks[block]->borrowed()) {
        const model::ParameterPlace owner = model.owner_of(name);
        parts.push_back(values[owner.block][owner.parameter].flatten());
      }
    }
    return at::cat(parts).to(at::kDouble);
  }

  const model::Model model_ = test::small_gpt();
};

TEST_F(RoundedWire, ReplicasAreIdenticalAndNoFurtherFromTheirMasterThanOneRounding) {
  using Kind = std::pair<bool, std::vector<std::int64_t>>;
  for (const auto& [table, weights] :
       {Kind{false, {}}, Kind{true, {}}, Kind{false, unequal()}, Kind{true, unequal()}}) {
    const auto store = trained(Wire::bf16, Precision::fp32, 20, table, weights);
    const at::Tensor mine = used(*store);
    at::Tensor first = mine.clone();
    communicator_->broadcast({first.data_ptr(), first.numel(), comm::DataType::float64}, 0).wait();
    EXPECT_TRUE(at::equal(mine, first));
    const at::Tensor left_out = (mine - flat(model_, store->gather_values())).abs();
    // AdamW's steps are at most about 2 * rate here (and decay), so one rounding of a change loses at most 2^-9 of
    // that; the sum of 20 roundings that nobody corrects would be ten times as much.
    EXPECT_LT(left_out.max().item<double>(), 2.5 * kRate / 512 + 1e-7);
    EXPECT_GT(left_out.max().item<double>(), 0);
  }
}

TEST_F(RoundedWire, LooksUpTheSameRowsAsTheWholeTableHas) {
  // What differs is only where gradients are rounded: the lookup's apart from the rest.
  const at::Tensor initial = flat(model_, model::initial_values(model_, 5));
  const at::Tensor whole = flat(model_, trained(Wire::bf16, Precision::fp32, 20)->gather_values());
  const at::Tensor rows = flat(model_, trained(Wire::bf16, Precision::fp32, 20, true)->gather_values());
  EXPECT_LT((whole - rows).norm().item<double>() / (whole - initial).norm().item<double>(), 0.02);
}

TEST_F(RoundedWire, HalvesTheBytes) {
  const auto bytes = [&](Wire wire) {
    const std::int64_t before = communicator_->counters().bytes_sent;
    trained(wire, Precision::fp32, 3);
    return communicator_->counters().bytes_sent - before;
  };
  EXPECT_EQ(2 * bytes(Wire::bf16), bytes(Wire::exact));
}

TEST_F(RoundedWire, TrainsNearlyAsExactly) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const at::Tensor initial = flat(model_, model::initial_values(model_, 5));
    const at::Tensor exact = flat(model_, trained(Wire::exact, precision, 20)->gather_values());
    for (const std::vector<std::int64_t>& weights : {std::vector<std::int64_t>(), unequal()}) {
      const at::Tensor rounded = flat(model_, trained(Wire::bf16, precision, 20, false, weights)->gather_values());
      const double distance = (exact - rounded).norm().item<double>() / (exact - initial).norm().item<double>();
      // Gradients are rounded by 2^-9 of themselves at most; AdamW enlarges that where they nearly cancel.
      EXPECT_LT(distance, 0.02);
    }
  }
}

TEST_F(RoundedWire, IsRefusedForDoubles) {
  EXPECT_THROW(
      make_replicated_store(model_, *communicator_, {.strategy = {.precision = Precision::fp64, .wire = Wire::bf16}}),
      std::invalid_argument);
}

}  // namespace
}  // namespace lshdp::parallel
