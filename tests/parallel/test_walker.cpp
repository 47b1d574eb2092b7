// Tests of the block walker on one rank: gradients against whole-graph autograd, recompute, evaluation.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "ddp/replicated_store.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/parallel/walker.h"
#include "models.h"
#include "support/detached_device.h"

namespace lshdp::parallel {
namespace {

/// A store that keeps parameters and lets the test look at summed gradients.
class RecordingStore final : public ParameterAccess {
 public:
  RecordingStore(const model::Model& model, at::ScalarType type) {
    const model::Values values = model::initial_values(model, 1);
    for (std::size_t block = 0; block < values.size(); ++block) {
      auto& mine = leaves.emplace_back();
      for (const at::Tensor& value : values[block]) mine.push_back(value.to(type).clone().requires_grad_(true));
      for (const std::string& name : model.blocks[block]->borrowed()) {
        const model::ParameterPlace owner = model.owner_of(name);
        mine.push_back(leaves[owner.block][owner.parameter]);
      }
      gradients.emplace_back(mine.size());
    }
  }
  void begin_step(const Update&) override {}
  void acquire(std::size_t) override {}
  std::span<const at::Tensor> parameters(std::size_t block) const override { return leaves[block]; }
  void release(std::size_t) override {}
  void add_gradient(std::size_t block, std::span<const at::Tensor> added, bool last) override {
    for (std::size_t i = 0; i < added.size(); ++i) {
      gradients[block][i] = gradients[block][i].defined() ? gradients[block][i] + added[i] : added[i];
    }
    if (last) last_order.push_back(block);
  }

  std::vector<std::vector<at::Tensor>> leaves, gradients;
  std::vector<std::size_t> last_order;
};

at::Tensor whole_graph_loss(const model::Model& model, const RecordingStore& store,
                            const model::SyntheticBatch& batch) {
  at::Tensor x = batch.input.is_floating_point() ? batch.input.to(at::kDouble) : batch.input;
  for (std::size_t block = 0; block < model.blocks.size(); ++block)
    x = model.blocks[block]->forward(x, store.parameters(block));
  return model::summed_cross_entropy(x, batch.target, 0);
}

/// One micro-batch, the last of its step.
double train(BlockWalker& walker, const model::SyntheticBatch& batch, bool last = true) {
  return walker.backward_pass(walker.forward_pass(batch.input), batch.target, last).loss;
}

class WalkerOnEveryModel : public testing::TestWithParam<model::Model (*)()> {};

TEST_P(WalkerOnEveryModel, GivesTheGradientsOfTheWholeGraph) {
  const model::Model model = GetParam()();
  const model::SyntheticBatch batch = model::synthetic_batch(model.input, 5, 3);
  RecordingStore store(model, at::kDouble);
  const at::Tensor loss = whole_graph_loss(model, store, batch);
  std::vector<at::Tensor> leaves;
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    const auto owned = store.parameters(block).first(model.blocks[block]->parameters().size());
    leaves.insert(leaves.end(), owned.begin(), owned.end());
  }
  const std::vector<at::Tensor> expected = torch::autograd::grad({loss}, leaves);

  BlockWalker walker(model, store, {.precision = Precision::fp64});
  EXPECT_DOUBLE_EQ(train(walker, batch), loss.item<double>());
  // What a block borrows counts for its owner.
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    const std::size_t owned = model.blocks[block]->parameters().size();
    for (std::size_t i = 0; i < model.blocks[block]->borrowed().size(); ++i) {
      const model::ParameterPlace owner = model.owner_of(model.blocks[block]->borrowed()[i]);
      store.gradients[owner.block][owner.parameter] += store.gradients[block][owned + i];
    }
  }
  std::size_t at = 0;
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    for (std::size_t i = 0; i < model.blocks[block]->parameters().size(); ++i, ++at) {
      EXPECT_TRUE(at::allclose(store.gradients[block][i], expected[at], 1e-12, 1e-14))
          << model.blocks[block]->parameters()[i].name;
    }
  }
}

TEST_P(WalkerOnEveryModel, RecomputeGivesTheSameBits) {
  const model::Model model = GetParam()();
  const model::SyntheticBatch batch = model::synthetic_batch(model.input, 4, 3);
  RecordingStore plain(model, at::kFloat), recomputed(model, at::kFloat);
  BlockWalker keeping(model, plain, {}), recomputing(model, recomputed, {.recompute = true});
  EXPECT_EQ(train(keeping, batch), train(recomputing, batch));
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    for (std::size_t i = 0; i < plain.gradients[block].size(); ++i) {
      EXPECT_TRUE(at::equal(plain.gradients[block][i], recomputed.gradients[block][i]));
    }
  }
}

TEST_P(WalkerOnEveryModel, InputsThatWaitOnTheHostChangeNoBit) {
  const model::Model model = GetParam()();
  for (const auto& device : {make_host_device(), std::shared_ptr<ComputeDevice>(new test::DetachedDevice)}) {
    RecordingStore recomputed(model, at::kFloat), offloaded(model, at::kFloat);
    BlockWalker reference(model, recomputed, {.recompute = true});
    BlockWalker walker(model, offloaded, {.recompute = true, .offload_activations = true, .device = device});
    for (const std::int64_t samples : {3, 5, 2}) {
      const model::SyntheticBatch batch = model::synthetic_batch(model.input, samples, 3);
      EXPECT_EQ(train(reference, batch), train(walker, batch));
    }
    for (std::size_t block = 0; block < model.blocks.size(); ++block) {
      for (std::size_t i = 0; i < recomputed.gradients[block].size(); ++i)
        EXPECT_TRUE(at::equal(recomputed.gradients[block][i], offloaded.gradients[block][i]));
    }
  }
}

TEST(Walker, InputsThatWaitOnTheHostTakeNoMemoryOfTheDevice) {
  const model::Model model = test::deep_vit();
  const model::SyntheticBatch batch = model::synthetic_batch(model.input, 512, 3);
  RecordingStore store(model, at::kFloat);
  const auto peak = [&](bool offload) {
    BlockWalker walker(model, store, {.recompute = true, .offload_activations = offload});
    train(walker, batch);
    MemoryBudget budget;
    train(walker, batch);
    return budget.peak();
  };
  // Two blocks a layer, inputs of 5 tokens of 32 floats a sample, of which the device keeps a few at a time.
  EXPECT_LT(peak(true), peak(false) - 40 * 512 * 5 * 32 * 4);
}

TEST_P(WalkerOnEveryModel, HandsBlocksOverFromTheLastToTheFirst) {
  const model::Model model = GetParam()();
  RecordingStore store(model, at::kFloat);
  BlockWalker walker(model, store, {});
  const model::SyntheticBatch batch = model::synthetic_batch(model.input, 2, 3);
  train(walker, batch, false);
  EXPECT_TRUE(store.last_order.empty());
  train(walker, batch);
  ASSERT_EQ(store.last_order.size(), model.blocks.size());
  for (std::size_t i = 0; i < model.blocks.size(); ++i) EXPECT_EQ(store.last_order[i], model.blocks.size() - 1 - i);
}

TEST_P(WalkerOnEveryModel, EvaluatesWithoutGradients) {
  const model::Model model = GetParam()();
  RecordingStore store(model, at::kDouble);
  BlockWalker walker(model, store, {.precision = Precision::fp64});
  const model::SyntheticBatch batch = model::synthetic_batch(model.input, 6, 3);
  const Evaluation evaluation = walker.evaluate(batch.input, batch.target);
  EXPECT_DOUBLE_EQ(evaluation.loss, whole_graph_loss(model, store, batch).item<double>());
  EXPECT_EQ(evaluation.terms, 6 * model.terms_per_sample());
  EXPECT_FALSE(walker.forward(batch.input).requires_grad());
}

TEST_P(WalkerOnEveryModel, HoldsSeveralMicroBatchesBetweenForwardAndBackward) {
  const model::Model model = GetParam()();
  const model::SyntheticBatch batch = model::synthetic_batch(model.input, 6, 3);
  const auto part = [](const at::Tensor& whole, std::int64_t i) { return whole.narrow(0, 2 * i, 2); };
  for (const WalkerOptions& options : {WalkerOptions{}, WalkerOptions{.recompute = true},
                                       WalkerOptions{.recompute = true, .offload_activations = true}}) {
    RecordingStore in_turn(model, at::kFloat), at_once(model, at::kFloat);
    BlockWalker one(model, in_turn, options), all(model, at_once, options);
    const double loss = one.train_step({}, batch.input, batch.target, {2, 2, 2});
    std::vector<Activations> forwards;
    for (std::int64_t i = 0; i < 3; ++i) forwards.push_back(all.forward_pass(part(batch.input, i)));
    double sum = 0;
    for (std::int64_t i = 0; i < 3; ++i)
      sum += all.backward_pass(std::move(forwards[static_cast<std::size_t>(i)]), part(batch.target, i), i == 2).loss;
    EXPECT_EQ(sum, loss);
    for (std::size_t block = 0; block < model.blocks.size(); ++block) {
      for (std::size_t i = 0; i < in_turn.gradients[block].size(); ++i)
        EXPECT_TRUE(at::equal(in_turn.gradients[block][i], at_once.gradients[block][i]));
    }
  }
}

TEST(Walker, GivesStagesOfAModelTheGradientsOfTheWhole) {
  for (model::Model (*make)() : {&test::small_vit, &test::small_mlp, &test::small_gpt}) {
    const model::Model model = make();
    const model::SyntheticBatch batch = model::synthetic_batch(model.input, 4, 3);
    for (const WalkerOptions& options : {WalkerOptions{}, WalkerOptions{.recompute = true},
                                         WalkerOptions{.recompute = true, .offload_activations = true}}) {
      RecordingStore reference(model, at::kFloat), cut(model, at::kFloat);
      BlockWalker walker(model, reference, options), stages(model, cut, options);
      const double loss = train(walker, batch);

      const std::size_t border = 2;
      Activations front = stages.forward_pass({0, border}, batch.input);
      Activations back = stages.forward_pass({border, model.blocks.size()}, front.take_output());
      const BackwardResult after = stages.backward_pass(std::move(back), batch.target, true);
      const BackwardResult before = stages.backward_pass(std::move(front), after.input_gradient, true);
      EXPECT_EQ(after.loss, loss);
      EXPECT_EQ(before.loss, 0);
      EXPECT_FALSE(before.input_gradient.defined());
      for (std::size_t block = 0; block < model.blocks.size(); ++block) {
        for (std::size_t i = 0; i < cut.gradients[block].size(); ++i)
          EXPECT_TRUE(at::equal(cut.gradients[block][i], reference.gradients[block][i])) << block << " " << i;
      }
    }
  }
}

TEST(Walker, RefusesMicroBatchesThatAreNotTheSamplesOfTheStep) {
  const model::Model model = test::small_mlp();
  RecordingStore store(model, at::kFloat);
  BlockWalker walker(model, store, {});
  const model::SyntheticBatch batch = model::synthetic_batch(model.input, 4, 3);
  EXPECT_THROW(walker.train_step({.passes = 2}, batch.input, batch.target, {2, 1}), std::invalid_argument);
  EXPECT_THROW(walker.train_step({.passes = 2}, {}, {}, {1}), std::invalid_argument);
  EXPECT_EQ(walker.train_step({.passes = 2}, {}, {}, {}), 0);
}

INSTANTIATE_TEST_SUITE_P(Models, WalkerOnEveryModel,
                         testing::Values(&test::small_vit, &test::small_gpt, &test::small_mlp));

}  // namespace
}  // namespace lshdp::parallel
