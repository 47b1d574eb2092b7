// Generation over the stages of a layout draws the tokens of one process.
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/model/weights.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/placement.h"
#include "lshdp/train/generate.h"
#include "parallel/models.h"

namespace lshdp::train {
namespace {

using Tokens = std::vector<std::int64_t>;

Tokens sampled(Decoder& decoder, const Tokens& prompt, const GenerateOptions& options) {
  Tokens tokens;
  generate(decoder, prompt, options, [&](std::int64_t token) { tokens.push_back(token); });
  return tokens;
}

Tokens of_one_process(const model::Model& model, const Tokens& prompt, const GenerateOptions& options) {
  const auto alone = comm::make_null_communicator(0, 1);
  const auto store = parallel::make_store(model, *alone, {});
  store->set_values(model::initial_values(model, 3));
  parallel::BlockWalker walker(model, *store, {});
  WholeDecoder decoder(model, walker);
  return sampled(decoder, prompt, options);
}

/// The 6 blocks of small_gpt(), whose head uses the embedding's table: rank 0 has both ends, the last rank nothing if
/// there are 4.
plan::Layout layout_for(int ranks) {
  plan::Replica replica{.batch = 1, .micro_batches = {1}};
  if (ranks == 2) replica.stages = {{0, 0, 3}, {1, 3, 5}, {0, 5, 6}};
  if (ranks == 3) replica.stages = {{0, 0, 1}, {2, 1, 2}, {1, 2, 5}, {0, 5, 6}};
  if (ranks == 4) replica.stages = {{1, 0, 2}, {3, 2, 4}, {0, 4, 5}, {1, 5, 6}};
  return {.blocks = 6, .replicas = {replica}};
}

class StagedGeneration : public testing::Test {
 protected:
  void TearDown() override {
    communicator_->barrier();
    communicator_.reset();
  }
  comm::MpiSession session_{nullptr, nullptr};
  std::unique_ptr<comm::Communicator> communicator_ = comm::make_mpi_communicator(session_);
};

TEST_F(StagedGeneration, DrawsTheTokensOfOneProcessOnEveryRank) {
  const model::Model model = test::small_gpt();
  const plan::Layout layout = layout_for(communicator_->size());
  const auto placement = std::make_shared<parallel::Placement>(layout, *communicator_);
  parallel::StoreOptions storing;
  storing.placement = placement;
  const auto store = parallel::make_store(model, *communicator_, storing);
  store->take_values(parallel::values_of_held_blocks(model, placement.get(), model::initial_block_values(model, 3)));
  parallel::WalkerOptions walking;
  walking.ranges = parallel::ranges_of(layout, communicator_->rank());
  parallel::BlockWalker walker(model, *store, walking);
  parallel::Pipeline pipeline(layout, model, *communicator_, walker, nullptr, plan::Precision::fp32);
  StagedDecoder decoder(model, pipeline, *communicator_, layout);
  const Tokens prompt{4, 5, 11};
  // 8 positions: the last of 20 tokens run the whole context again.
  for (const GenerateOptions& options :
       {GenerateOptions{.length = 20, .temperature = 0}, GenerateOptions{.length = 20, .temperature = 2, .seed = 7}})
    EXPECT_EQ(sampled(decoder, prompt, options), of_one_process(model, prompt, options));
}

}  // namespace
}  // namespace lshdp::train
