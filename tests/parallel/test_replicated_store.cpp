// Tests of the replicated store on one rank: the update against AdamW written out, state pieces, precision, misuse.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ddp/replicated_store.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/parallel/walker.h"
#include "models.h"

namespace lshdp::parallel {
namespace {

/// One step in which every parameter's gradient sum is `gradient`.
void step_with(const model::Model& model, ParameterStore& store, double gradient, const Update& update) {
  store.begin_step(update);
  for (std::size_t block = 0; block < model.blocks.size(); ++block) store.acquire(block);
  for (std::size_t block = model.blocks.size(); block-- > 0;) {
    std::vector<at::Tensor> gradients;
    for (const at::Tensor& parameter : store.parameters(block))
      gradients.push_back(at::full_like(parameter.detach(), gradient));
    store.add_gradient(block, gradients, true);
  }
  store.synchronize();
}

TEST(ReplicatedStore, UpdatesAsAdamWIsDefined) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  const AdamW adamw{.beta1 = 0.8, .beta2 = 0.9, .epsilon = 1e-6, .weight_decay = 0.1};
  const auto store =
      make_replicated_store(model, *communicator, {.strategy = {.precision = Precision::fp64}, .adamw = adamw});
  const model::Values initial = model::initial_values(model, 4);
  store->set_values(initial);
  double m = 0, v = 0;
  model::Values expected = initial;
  for (auto& block : expected) {
    for (at::Tensor& value : block) value = value.to(at::kDouble);
  }
  for (int step = 1; step <= 3; ++step) {
    const double sum = 0.5 * step, mean = sum / 10, rate = 0.01 * step;
    step_with(model, *store, sum, {.step = step, .learning_rate = rate, .global_terms = 10});
    m = 0.8 * m + 0.2 * mean;
    v = 0.9 * v + 0.1 * mean * mean;
    const double direction = m / (1 - std::pow(0.8, step)) / (std::sqrt(v / (1 - std::pow(0.9, step))) + 1e-6);
    for (std::size_t block = 0; block < expected.size(); ++block) {
      for (std::size_t i = 0; i < expected[block].size(); ++i) {
        const double decay = model.blocks[block]->parameters()[i].decay ? 0.1 : 0;
        expected[block][i] = expected[block][i] * (1 - rate * decay) - rate * direction;
      }
    }
  }
  const model::Values actual = store->gather_values();
  for (std::size_t block = 0; block < expected.size(); ++block) {
    for (std::size_t i = 0; i < expected[block].size(); ++i) {
      EXPECT_TRUE(at::allclose(actual[block][i], expected[block][i], 1e-12, 1e-13));
    }
  }
}

TEST(ReplicatedStore, ClipsByTheGlobalNormOfTheMeanGradient) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  // With beta1 = 0 and a huge epsilon the step is learning_rate * gradient / epsilon: linear in the clipped gradient.
  const AdamW linear{.beta1 = 0, .beta2 = 0.5, .epsilon = 1e6, .weight_decay = 0};
  const auto moved = [&](double clip) {
    const auto store =
        make_replicated_store(model, *communicator, {.strategy = {.precision = Precision::fp64}, .adamw = linear});
    store->set_values(model::initial_values(model, 4));
    const at::Tensor before = store->gather_values()[0][0];
    step_with(model, *store, 8, {.step = 1, .learning_rate = 1e6, .global_terms = 4, .clip_norm = clip});
    EXPECT_NEAR(store->report_of(1).local_squared_norm, 4.0 * static_cast<double>(model.parameter_count()), 1e-9);
    return (before - store->gather_values()[0][0]).abs().max().item<double>();
  };
  const double norm = 2 * std::sqrt(static_cast<double>(model.parameter_count()));
  EXPECT_NEAR(moved(0), 2, 1e-5);
  EXPECT_NEAR(moved(norm * 2), 2, 1e-5);
  EXPECT_NEAR(moved(norm / 4), 0.5, 1e-5);
}

TEST(ReplicatedStore, PiecesOfAllRanksCoverEveryElementOnce) {
  const model::Model model = test::small_gpt();
  std::vector<std::vector<at::Tensor>> hits;
  for (const auto& block : model.blocks) {
    auto& mine = hits.emplace_back();
    for (const model::Parameter& parameter : block->parameters()) mine.push_back(at::zeros(parameter.shape).flatten());
  }
  for (int rank = 0; rank < 3; ++rank) {
    const auto communicator = comm::make_null_communicator(rank, 3);
    const auto store = make_replicated_store(model, *communicator, {.bucket_bytes = 4096});
    for (const StatePiece& piece : store->owned_state()) {
      hits[piece.block][piece.parameter].narrow(0, piece.begin, piece.value.numel()).add_(1);
      EXPECT_EQ(piece.first_moment.numel(), piece.value.numel());
      EXPECT_EQ(piece.second_moment.numel(), piece.value.numel());
    }
  }
  for (const auto& block : hits) {
    for (const at::Tensor& hit : block) EXPECT_TRUE(at::equal(hit, at::ones_like(hit)));
  }
}

TEST(ReplicatedStore, KeepsMasterWeightsThatBf16CouldNotHold) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  const AdamW adamw{.weight_decay = 0};
  const auto store =
      make_replicated_store(model, *communicator, {.strategy = {.precision = Precision::bf16}, .adamw = adamw});
  model::Values ones = model::initial_values(model, 1);
  for (auto& block : ones) {
    for (at::Tensor& value : block) value = at::ones_like(value);
  }
  store->set_values(ones);
  EXPECT_EQ(store->parameters(0)[0].scalar_type(), at::kBFloat16);
  // AdamW's first step moves by the learning rate; 1 - 1e-3 is not a bf16 number, 1 - 8e-3 lies between two.
  for (int step = 1; step <= 8; ++step)
    step_with(model, *store, 1, {.step = step, .learning_rate = 1e-3, .global_terms = 1});
  EXPECT_NEAR(store->gather_values()[0][0].min().item<double>(), 1 - 8e-3, 1e-5);
  EXPECT_NEAR(store->parameters(0)[0].detach().to(at::kFloat).min().item<double>(), 1 - 8e-3, 4e-3);
}

TEST(ReplicatedStore, TakesNoSamplesAsAZeroGradient) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  const auto store = make_replicated_store(model, *communicator, {.adamw = {.weight_decay = 0}});
  store->set_values(model::initial_values(model, 4));
  const model::Values before = store->gather_values();
  step_with(model, *store, 3, {.step = 1, .learning_rate = 0, .global_terms = 1});  // leaves something in the arenas
  BlockWalker(model, *store, {}).train_step({.step = 2, .learning_rate = 1, .global_terms = 1}, {}, {}, {});
  store->synchronize();
  EXPECT_EQ(store->report_of(2).local_squared_norm, 0);
  EXPECT_GT(store->report_of(1).local_squared_norm, 0);
  EXPECT_THROW(static_cast<void>(store->report_of(3).local_squared_norm), std::logic_error);
}

TEST(ReplicatedStore, RefusesCallsOutOfOrder) {
  const model::Model model = test::small_mlp();
  const auto communicator = comm::make_null_communicator(0, 1);
  const auto store = make_replicated_store(model, *communicator, {});
  EXPECT_THROW(store->add_gradient(0, {}, true), std::logic_error);
  store->begin_step({});
  EXPECT_THROW(store->begin_step({}), std::logic_error);
  EXPECT_THROW(store->synchronize(), std::logic_error);
  EXPECT_THROW(store->add_gradient(0, {}, true), std::logic_error);
}

TEST(ReplicatedStore, HasOnlyTheRowsThatAStepLooksUp) {
  const model::Model model = test::small_gpt();
  const auto communicator = comm::make_null_communicator(0, 1);
  const auto store = make_replicated_store(model, *communicator, {.table_bytes = 0});
  const model::Values values = model::initial_values(model, 4);
  store->set_values(values);
  ASSERT_TRUE(store->looks_up_rows());
  const at::Tensor rows = at::tensor({2, 3, 21}, at::kLong);
  store->begin_step({.step = 1, .learning_rate = 0});
  EXPECT_THROW(store->acquire(0), std::logic_error);
  EXPECT_THROW(store->look_up(at::tensor({3, 2}, at::kLong)), std::invalid_argument);
  EXPECT_THROW(store->look_up(at::tensor({22, 23}, at::kLong)), std::invalid_argument);
  store->look_up(rows);
  EXPECT_THROW(store->look_up(rows), std::logic_error);
  store->acquire(0);
  EXPECT_TRUE(at::equal(store->parameters(0)[0], values[0][0].index_select(0, rows)));
  EXPECT_TRUE(store->parameters(0)[0].requires_grad());
  BlockWalker(model, *store, {}).empty_pass();
  store->synchronize();
  EXPECT_THROW(store->look_up(rows), std::logic_error);
  store->acquire(0);
  EXPECT_TRUE(at::equal(store->parameters(0)[0], values[0][0]));
  const auto whole = make_replicated_store(model, *communicator, {});
  EXPECT_FALSE(whole->looks_up_rows());
}

TEST(ReplicatedStore, TakesNoMicroBatchThatTheStepDidNotBeginWith) {
  const model::Model model = test::small_gpt();
  const auto communicator = comm::make_null_communicator(0, 1);
  const auto store = make_replicated_store(model, *communicator, {.table_bytes = 0});
  store->set_values(model::initial_values(model, 4));
  BlockWalker walker(model, *store, {});
  const at::Tensor input = at::arange(8, at::kLong).view({1, 8});
  walker.begin_step({}, 1, input);
  EXPECT_THROW(walker.forward_pass(input + 1), std::logic_error);
  walker.backward_pass(walker.forward_pass(input), input, true);
}

TEST(StepTraffic, CountsWhatAStepMoves) {
  const model::Model model = test::small_vit();
  const StepTraffic fp32 = replicated_traffic(model, {});
  EXPECT_GE(fp32.gradient_bytes, 4 * model.parameter_count());
  EXPECT_LE(fp32.gradient_bytes, 5 * model.parameter_count());
  EXPECT_EQ(fp32.parameter_bytes, fp32.gradient_bytes);
  const StepTraffic bf16 = replicated_traffic(model, {.strategy = {.precision = Precision::bf16}});
  EXPECT_EQ(bf16.parameter_bytes * 2, bf16.gradient_bytes);
  EXPECT_EQ(replicated_traffic(model, {.strategy = {.precision = Precision::fp16}}).parameter_bytes,
            bf16.parameter_bytes);
  const StepTraffic per_block = replicated_traffic(model, {.bucket_bytes = 0});
  EXPECT_LT(per_block.exposed_bytes, per_block.gradient_bytes);
}

}  // namespace
}  // namespace lshdp::parallel
