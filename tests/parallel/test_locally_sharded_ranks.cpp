// Tests of the locally sharded store on several ranks, of one node and of several: state, memory, traffic.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lsdp/locally_sharded_store.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/node.h"
#include "lshdp/core/memory.h"
#include "lshdp/parallel/walker.h"
#include "models.h"
#include "rank_suite.h"

namespace lshdp::parallel {
namespace {

model::Model wide_mlp() {
  return model::make_model_from_json(
      {{"type", "mlp"}, {"input_size", 256}, {"hidden_sizes", {256, 256, 256}}, {"output_size", 16}}, "wide mlp");
}

/// Rank r on node r % nodes: ranks of a node do not follow each other.
std::vector<std::string> spread_over(int nodes, int ranks) {
  std::vector<std::string> names;
  for (int rank = 0; rank < ranks; ++rank) names.push_back(std::to_string(rank % nodes));
  return names;
}

class OnNodes : public test::RankSuite<testing::TestWithParam<int>> {
 protected:
  void SetUp() override {
    if (GetParam() > size()) GTEST_SKIP() << "more nodes than ranks";
  }
  static int size() { return communicator_->size(); }
  static int nodes() { return GetParam(); }
  static std::unique_ptr<ParameterStore> make(const model::Model& model, Precision precision = Precision::fp32) {
    return make_locally_sharded_store(
        model, *communicator_,
        {.strategy = {.precision = precision}, .bucket_bytes = 2048, .node_names = spread_over(nodes(), size())});
  }
  static double sum(double value) {
    communicator_->all_reduce_sum({&value, 1, comm::DataType::float64}).wait();
    return value;
  }
  static void step(const model::Model& model, ParameterStore& store, int number) {
    const model::SyntheticBatch batch = model::synthetic_batch(model.input, 2, static_cast<std::uint64_t>(rank()));
    BlockWalker(model, store, {})
        .train_step({.step = number, .learning_rate = 1e-2, .global_terms = 2 * size()}, batch.input, batch.target,
                    {2});
  }
};

TEST_P(OnNodes, EveryElementHasOneOwner) {
  const model::Model model = test::small_gpt();
  const auto store = make(model);
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    for (std::size_t i = 0; i < model.blocks[block]->parameters().size(); ++i) {
      at::Tensor hits = at::zeros(model.blocks[block]->parameters()[i].shape).flatten();
      for (const StatePiece& piece : store->owned_state()) {
        if (piece.block != block || piece.parameter != i) continue;
        hits.narrow(0, piece.begin, piece.value.numel()).add_(1);
        EXPECT_EQ(piece.first_moment.numel(), piece.value.numel());
        EXPECT_EQ(piece.second_moment.numel(), piece.value.numel());
      }
      communicator_->all_reduce_sum({hits.data_ptr(), hits.numel(), comm::DataType::float32}).wait();
      EXPECT_TRUE(at::equal(hits, at::ones_like(hits)));
    }
  }
}

TEST_P(OnNodes, PublishedValuesReachEveryRank) {
  const model::Model model = test::small_gpt();
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    const auto store = make(model, precision);
    store->set_values(model::initial_values(model, 1));
    store->synchronize();
    for (const StatePiece& piece : store->owned_state()) piece.value.fill_(static_cast<double>(piece.block) + 0.5);
    store->publish();
    const model::Values values = store->gather_values();
    for (std::size_t block = 0; block < model.blocks.size(); ++block) {
      store->acquire(block);
      for (std::size_t i = 0; i < values[block].size(); ++i) {
        const at::Tensor expected = at::full_like(values[block][i], static_cast<double>(block) + 0.5);
        EXPECT_TRUE(at::equal(values[block][i], expected));
        EXPECT_TRUE(at::equal(store->parameters(block)[i].detach().to(at::kFloat), expected));
      }
      store->release(block);
    }
    communicator_->barrier();
  }
}

TEST_P(OnNodes, HostMemoryOfANodeDoesNotGrowWithItsRanks) {
  const model::Model model = wide_mlp();
  const auto parameters = static_cast<double>(model.parameter_count());
  const auto store = make(model, Precision::bf16);
  const auto map = comm::map_nodes(spread_over(nodes(), size()));
  const auto& mine = map.nodes[static_cast<std::size_t>(map.node_of(rank()))];
  const auto bytes = comm::all_gather_values(*communicator_, static_cast<double>(store->usage().host_bytes));
  double of_node = 0;
  for (const int member : mine) of_node += bytes[static_cast<std::size_t>(member)];
  // Parameters, gradients, the node's share of masters and moments, and what sums are received into.
  const double share = static_cast<double>(mine.size()) / size();
  const double received = 4.0 * (nodes() - 1) * share * parameters;
  EXPECT_LE(of_node, (2 + 4 + 12 * share) * parameters + received + 0.03 * 18 * parameters);
  EXPECT_GE(of_node, (2 + 4 + 12 * share) * parameters * 0.97);
}

TEST_P(OnNodes, OnlyLeadersSendAndEachItsShareOfTheGradientsTwice) {
  const model::Model model = wide_mlp();
  const auto store = make(model);
  store->set_values(model::initial_values(model, 1));
  step(model, *store, 1);
  store->synchronize();
  communicator_->barrier();
  const std::int64_t before = communicator_->counters().bytes_sent;
  constexpr int kSteps = 4;
  for (int number = 2; number < 2 + kSteps; ++number) step(model, *store, number);
  store->synchronize();
  const auto sent = static_cast<double>(communicator_->counters().bytes_sent - before) / kSteps;
  const auto map = comm::map_nodes(spread_over(nodes(), size()));
  const auto gradients = static_cast<double>(locally_sharded_traffic(model, {.bucket_bytes = 2048}).gradient_bytes);
  if (!map.leads(rank())) {
    EXPECT_EQ(sent, 0);
  }
  // Nodes with more ranks own more, so leaders send different parts; together it is 2(N-1) times the gradients.
  const double together = sum(sent);
  EXPECT_NEAR(together, 2.0 * (nodes() - 1) * gradients, 0.03 * together);
  if (size() % nodes() == 0 && map.leads(rank())) {
    EXPECT_NEAR(sent, 2.0 * (nodes() - 1) / nodes() * gradients, 0.03 * sent);
  }
  communicator_->barrier();
}

TEST_P(OnNodes, DeviceMemoryStaysBelowABudgetThatHoldsNoWholeModel) {
  const model::Model model = wide_mlp();
  const model::Values initial = model::initial_values(model, 1);
  communicator_->barrier();
  {
    const std::int64_t limit = 12 * 256 * 256 * 4;  // bytes; the model and its gradients alone are half of that each
    MemoryBudget budget(limit);
    const auto store = make(model);
    store->set_values(initial);
    for (int number = 1; number <= 5; ++number) step(model, *store, number);
    store->synchronize();
    EXPECT_LE(budget.peak(), limit);
    communicator_->barrier();
  }
}

INSTANTIATE_TEST_SUITE_P(Nodes, OnNodes, testing::Values(1, 2, 3, 4));

}  // namespace
}  // namespace lshdp::parallel
