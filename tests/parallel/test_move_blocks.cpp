// A pipeline whose cuts move between steps trains as one whose cuts stay.
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "difference.h"
#include "lshdp/core/memory.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/move_blocks.h"
#include "lshdp/parallel/pipeline.h"
#include "lshdp/parallel/placement.h"
#include "lshdp/parallel/walker.h"
#include "models.h"
#include "rank_suite.h"
#include "support/detached_device.h"

namespace lshdp::parallel {
namespace {

constexpr int kSteps = 12, kMoveEvery = 3;
constexpr std::int64_t kBatch = 6;

using Cuts = std::vector<std::size_t>;  // where each stage but the last ends

struct Way {
  const char* name;
  Precision precision = Precision::fp32;
  double clip = 0;
  bool table = false;  // rows of the embedding travel by themselves
  bool apart = false;  // ranks of odd number on a device of its own memory
};

void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

StoreOptions store_options(const Way& way) {
  StoreOptions options{.strategy = {.precision = way.precision}, .bucket_bytes = 4096};
  if (way.table) options.bucket_bytes = options.table_bytes = 0;
  return options;
}

class MovingPipeline {
 public:
  MovingPipeline(const model::Model& model, comm::Communicator& world, const Way& way, const Cuts& cuts)
      : model_(model), world_(world), way_(way), options_(store_options(way)) {
    device_ = way.apart && world.rank() % 2 == 1 ? std::make_shared<test::DetachedDevice>() : make_host_device();
    options_.device = device_;
    layout_ = layout_of(cuts);
    options_.placement = std::make_shared<Placement>(layout_, world);
    store_ = make_store(model, world, options_);
    store_->set_values(model::initial_values(model, 5));
    begin();
  }

  void step(int number) {
    const model::SyntheticBatch batch =
        model::synthetic_batch(model_.input, kBatch, 100 + static_cast<std::uint64_t>(number));
    const Update update{.step = number,
                        .learning_rate = 1e-2,
                        .global_terms = kBatch * model_.terms_per_sample(),
                        .clip_norm = way_.clip};
    losses_.push_back(pipeline_->train_step(update, batch.input, batch.target, test::micro_batches_of(kBatch, 2), 0,
                                            batch.positions));
  }

  void move(const Cuts& cuts) {
    store_->synchronize();
    pipeline_.reset();
    walker_.reset();
    plan::Layout next = layout_of(cuts);
    options_.placement = std::make_shared<Placement>(next, world_);
    store_ = move_blocks(std::move(store_), model_, world_, layout_, next, options_);
    layout_ = std::move(next);
    begin();
  }

  /// Of all steps, summed over ranks.
  std::vector<double> losses() {
    std::vector<double> sums = losses_;
    world_.all_reduce_sum({sums.data(), std::ssize(sums), comm::DataType::float64}).wait();
    return sums;
  }

  model::Values values() {
    store_->synchronize();
    return store_->gather_values();
  }

  LossScale loss_scale() const { return store_->loss_scale(); }

 private:
  void begin() {
    walker_ = std::make_unique<BlockWalker>(
        model_, *store_,
        WalkerOptions{
            .precision = way_.precision, .seed = 3, .device = device_, .ranges = ranges_of(layout_, world_.rank())});
    pipeline_ = std::make_unique<Pipeline>(layout_, model_, world_, *walker_, device_, way_.precision);
  }

  /// As many stages as there are ranks, or one more, which the first rank has.
  plan::Layout layout_of(const Cuts& cuts) const {
    plan::Replica replica{.batch = kBatch, .micro_batches = test::micro_batches_of(kBatch, 2)};
    for (std::size_t stage = 0; stage <= cuts.size(); ++stage)
      replica.stages.push_back({.rank = static_cast<std::int64_t>(stage % static_cast<std::size_t>(world_.size())),
                                .start = stage == 0 ? 0 : cuts[stage - 1],
                                .end = stage == cuts.size() ? model_.blocks.size() : cuts[stage]});
    return {.blocks = model_.blocks.size(), .replicas = {std::move(replica)}};
  }

  const model::Model& model_;
  comm::Communicator& world_;
  Way way_;
  StoreOptions options_;
  std::shared_ptr<ComputeDevice> device_;
  plan::Layout layout_;
  std::unique_ptr<ParameterStore> store_;
  std::unique_ptr<BlockWalker> walker_;
  std::unique_ptr<Pipeline> pipeline_;
  std::vector<double> losses_;
};

/// Cuts of `stages` stages: even, early, late, and even again.
std::vector<Cuts> sequence_of(std::size_t blocks, std::size_t stages) {
  Cuts even, early, late;
  for (std::size_t cut = 1; cut < stages; ++cut) {
    even.push_back(cut * blocks / stages);
    early.push_back(cut);
    late.push_back(blocks - stages + cut);
  }
  return {even, early, late, even};
}

using Case = std::tuple<model::Model (*)(), bool, Way>;

class MovedBlocks : public test::RankSuite<testing::TestWithParam<Case>> {
 protected:
  std::pair<std::vector<double>, model::Values> train(bool moving) {
    const auto& [make, comes_back, way] = GetParam();
    const model::Model model = make();
    const std::size_t stages = static_cast<std::size_t>(ranks()) + (comes_back ? 1 : 0);
    const std::vector<Cuts> cuts = sequence_of(model.blocks.size(), stages);
    MovingPipeline pipeline(model, *communicator_, way, cuts.front());
    for (int step = 1; step <= kSteps; ++step) {
      pipeline.step(step);
      const auto next = static_cast<std::size_t>(step / kMoveEvery);
      if (moving && step % kMoveEvery == 0 && next < cuts.size()) pipeline.move(cuts[next]);
    }
    scale_ = pipeline.loss_scale();
    return {pipeline.losses(), pipeline.values()};
  }
  LossScale scale_;
};

class MovedBlocksToRounding : public MovedBlocks {};

TEST_P(MovedBlocks, GiveTheSameBitsAsCutsThatStay) {
  const auto [losses, values] = train(true);
  const LossScale scale = scale_;
  const auto [losses_at_rest, values_at_rest] = train(false);
  EXPECT_EQ(losses, losses_at_rest);
  EXPECT_EQ(test::difference(values, values_at_rest).first, 0);
  EXPECT_EQ(scale.scale, scale_.scale);
}

/// Norms of parts are added in another order.
TEST_P(MovedBlocksToRounding, GiveTheLossesOfCutsThatStay) {
  const double tolerance = std::get<Way>(GetParam()).precision == Precision::fp64 ? 1e-12 : 1e-6;
  const auto [losses, values] = train(true);
  const auto [losses_at_rest, values_at_rest] = train(false);
  for (std::size_t step = 0; step < losses.size(); ++step)
    EXPECT_NEAR(losses[step], losses_at_rest[step], tolerance * losses_at_rest[step]) << step;
}

using MovedMemory = test::RankSuite<testing::Test>;

/// Blocks of one size: those that go and come are a small part of a rank's.
TEST_F(MovedMemory, StaysBelowThatOfStepsWhereFewBlocksMove) {
  MemoryBudget budget;
  const model::Model model = test::deep_vit();
  const std::size_t blocks = model.blocks.size();
  Cuts cuts, next;
  for (std::size_t cut = 1; cut < static_cast<std::size_t>(ranks()); ++cut) {
    cuts.push_back(cut * blocks / static_cast<std::size_t>(ranks()));
    next.push_back(cuts.back() + 1);
  }
  MovingPipeline pipeline(model, *communicator_, {.name = "Memory"}, cuts);
  const std::int64_t held = budget.used();
  budget.reset_peak();
  pipeline.move(next);
  // A rank has as many blocks as before, or one more or less; the gradients of the old store make room.
  EXPECT_LT(budget.peak(), held + held / 3);
  communicator_->barrier();
}

constexpr Way kSingle{.name = "Single"};
constexpr Way kDouble{.name = "Double", .precision = Precision::fp64};
constexpr Way kBf16{.name = "Bf16", .precision = Precision::bf16};
constexpr Way kFp16{.name = "Fp16", .precision = Precision::fp16};
constexpr Way kTable{.name = "Table", .table = true};
constexpr Way kApart{.name = "Apart", .apart = true};
constexpr Way kClip{.name = "Clip", .clip = 0.05};
constexpr Way kClipDouble{.name = "ClipDouble", .precision = Precision::fp64, .clip = 0.05};

std::string way_of(const testing::TestParamInfo<Case>& info) {
  return fmt::format("{}{}", std::get<Way>(info.param).name, info.index);
}

model::Model quantized_gpt_lora() {
  return model::with_lora(test::small_gpt(),
                          {.rank = 3, .alpha = 6, .targets = {"c_attn"}, .base = model::BasePrecision::nf4_double},
                          "small gpt");
}

INSTANTIATE_TEST_SUITE_P(Vit, MovedBlocks,
                         testing::Combine(testing::Values(&test::small_vit), testing::Values(false),
                                          testing::Values(kSingle, kDouble, kBf16, kFp16, kApart)),
                         way_of);
INSTANTIATE_TEST_SUITE_P(VitLora, MovedBlocks,
                         testing::Combine(testing::Values(&test::small_vit_lora), testing::Values(false),
                                          testing::Values(kSingle, kBf16)),
                         way_of);
// The head uses the embedding's table: the first rank has the last stage, too.
INSTANTIATE_TEST_SUITE_P(Gpt, MovedBlocks,
                         testing::Combine(testing::Values(&test::small_gpt), testing::Values(true),
                                          testing::Values(kSingle, kDouble, kTable, kApart)),
                         way_of);
INSTANTIATE_TEST_SUITE_P(GptLora, MovedBlocks,
                         testing::Combine(testing::Values(&test::small_gpt_lora, &quantized_gpt_lora),
                                          testing::Values(true), testing::Values(kSingle)),
                         way_of);
INSTANTIATE_TEST_SUITE_P(Vit, MovedBlocksToRounding,
                         testing::Combine(testing::Values(&test::small_vit), testing::Values(false),
                                          testing::Values(kClip, kClipDouble)),
                         way_of);

}  // namespace
}  // namespace lshdp::parallel
