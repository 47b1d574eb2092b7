// Training a model whose blocks are cut into stages over ranks is the training of one process with the whole batch.
#include <map>
#include <memory>
#include <tuple>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "difference.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/data/sampler.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/pipeline.h"
#include "lshdp/parallel/placement.h"
#include "lshdp/parallel/walker.h"
#include "models.h"
#include "rank_suite.h"
#include "support/detached_device.h"

namespace lshdp::parallel {
namespace {

constexpr int kSteps = 20;
constexpr std::int64_t kBatch = 12;

/// One replica: its samples, and the ranks of its stages in order.
struct Row {
  std::int64_t batch;
  std::vector<std::int64_t> ranks;
};

struct Shape {
  const char* name;
  int ranks;  // that it is for
  std::vector<Row> replicas;
};

void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

struct Way {
  const char* name;
  std::int64_t micro_batch = 0;  // largest; 0: one
  double clip = 0;
  bool partial = false;  // every fifth step has fewer samples, maybe none for a replica
  bool recompute = false;
  bool gpipe = false;
  bool table = false;  // a bucket for each block, and one for the table that rows are looked up in
  bool apart = false;  // ranks of odd number on a device of its own memory
  bool offload_activations = false;
};

void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

/// Cuts are as unequal as the number of blocks allows: the first replica's early, the second's late.
std::vector<plan::Stage> cut(const std::vector<std::int64_t>& ranks, std::size_t blocks, bool late) {
  std::vector<plan::Stage> stages;
  for (std::size_t s = 0; s < ranks.size(); ++s) {
    const std::size_t start = s == 0 ? 0 : stages.back().end;
    const std::size_t left = ranks.size() - s - 1, most = blocks - left;
    const std::size_t end = left == 0 ? blocks : late ? std::min(most, start + 2) : start + 1;
    stages.push_back({.rank = ranks[s], .start = start, .end = late ? std::min(end, most) : end});
  }
  return stages;
}

plan::Layout layout_of(const Shape& shape, const Way& way, std::size_t blocks) {
  plan::Layout layout{.blocks = blocks};
  if (way.gpipe) layout.schedule = plan::PipelineSchedule::gpipe;
  for (const Row& row : shape.replicas) {
    layout.replicas.push_back(
        {.batch = row.batch,
         .micro_batches = test::micro_batches_of(row.batch, way.micro_batch > 0 ? way.micro_batch : kBatch),
         .stages = cut(row.ranks, blocks, !layout.replicas.empty())});
  }
  return layout;
}

/// Samples of each replica in a step of `count`.
std::vector<std::int64_t> shares(const plan::Layout& layout, std::int64_t count) {
  std::vector<std::int64_t> weights;
  for (const plan::Replica& replica : layout.replicas) weights.push_back(replica.batch);
  return data::split_in_proportion(count, weights);
}

std::int64_t count_of(const Way& way, int step) {
  return way.partial && step % 5 == 0 ? (step % 10 == 0 ? 1 : 7) : kBatch;
}

Update update_of(const model::Model& model, const Way& way, int step) {
  return {.step = step,
          .learning_rate = 1e-3,
          .global_terms = count_of(way, step) * model.terms_per_sample(),
          .clip_norm = way.clip};
}

model::SyntheticBatch batch_of(const model::Model& model, const Way& way, int step) {
  return model::synthetic_batch(model.input, count_of(way, step), 100 + static_cast<std::uint64_t>(step));
}

StoreOptions store_options(Precision precision, bool table) {
  StoreOptions options{.strategy = {.precision = precision}, .bucket_bytes = 4096};
  if (table) options.bucket_bytes = options.table_bytes = 0;
  return options;
}

struct Trained {
  model::Values values;
  double loss = 0;  // of all steps, summed over ranks
  Evaluation evaluation;
};

Trained train_alone(const model::Model& model, Precision precision, const Way& way) {
  const auto communicator = comm::make_null_communicator(0, 1);
  const auto store = make_store(model, *communicator, store_options(precision, false));
  store->set_values(model::initial_values(model, 5));
  BlockWalker walker(model, *store, {.precision = precision, .seed = 3});
  Trained trained;
  for (int step = 1; step <= kSteps; ++step) {
    const model::SyntheticBatch batch = batch_of(model, way, step);
    trained.loss += walker.train_step(update_of(model, way, step), batch.input, batch.target, {batch.input.size(0)}, 0,
                                      batch.positions);
  }
  store->synchronize();
  const model::SyntheticBatch batch = model::synthetic_batch(model.input, kBatch, 7);
  trained.evaluation = walker.evaluate(batch.input, batch.target, batch.positions);
  trained.values = store->gather_values();
  return trained;
}

/// What this rank and the others come to together.
class StagedTraining {
 public:
  StagedTraining(const model::Model& model, comm::Communicator& world, Precision precision, const Shape& shape,
                 const Way& way)
      : model_(model), world_(world), way_(way), layout_(layout_of(shape, way, model.blocks.size())) {
    const bool apart = way.apart && world.rank() % 2 == 1;
    device_ = apart ? std::make_shared<test::DetachedDevice>() : make_host_device();
    StoreOptions options = store_options(precision, way.table);
    options.device = device_;
    options.placement = std::make_shared<Placement>(layout_, world);
    store_ = make_store(model, world, options);
    store_->set_values(model::initial_values(model, 5));
    walker_ = std::make_unique<BlockWalker>(model, *store_,
                                            WalkerOptions{.precision = precision,
                                                          .recompute = way.recompute,
                                                          .offload_activations = way.offload_activations,
                                                          .seed = 3,
                                                          .device = device_,
                                                          .ranges = ranges_of(layout_, world.rank())});
    pipeline_ = std::make_unique<Pipeline>(layout_, model, world, *walker_, device_, precision);
  }

  void step(int number) {
    const model::SyntheticBatch batch = batch_of(model_, way_, number);
    const auto [begin, count] = slice(count_of(way_, number));
    loss_ += pipeline_->train_step(update_of(model_, way_, number), batch.input.narrow(0, begin, count),
                                   batch.target.narrow(0, begin, count), micro_batches(count), begin,
                                   model::part_of(batch.positions, begin, count));
  }

  Trained result() {
    store_->synchronize();
    const model::SyntheticBatch batch = model::synthetic_batch(model_.input, kBatch, 7);
    const auto [begin, count] = slice(kBatch);
    const std::vector<std::int64_t> sizes = test::micro_batches_of(count, 2);
    std::int64_t at = begin;
    std::size_t next = 0;
    Evaluation mine = pipeline_->evaluate(sizes, [&] {
      const std::int64_t size = sizes[next++];
      at += size;
      return StageBatch{batch.input.narrow(0, at - size, size), batch.target.narrow(0, at - size, size),
                        model::part_of(batch.positions, at - size, size)};
    });
    double sums[4] = {loss_, mine.loss, static_cast<double>(mine.correct), static_cast<double>(mine.terms)};
    world_.all_reduce_sum({sums, 4, comm::DataType::float64}).wait();
    return {store_->gather_values(),
            sums[0],
            {sums[1], static_cast<std::int64_t>(sums[2]), static_cast<std::int64_t>(sums[3])}};
  }

  std::vector<StatePiece> owned_state() { return store_->owned_state(); }

 private:
  /// Of this rank's replica: the first of its samples, and how many.
  std::pair<std::int64_t, std::int64_t> slice(std::int64_t count) const {
    const std::vector<std::int64_t> all = shares(layout_, count);
    const auto replica = plan::replica_of(layout_, world_.rank());
    if (!replica) return {0, 0};
    std::int64_t begin = 0;
    for (std::size_t r = 0; r < *replica; ++r) begin += all[r];
    return {begin, all[*replica]};
  }

  std::vector<std::int64_t> micro_batches(std::int64_t count) const {
    return test::micro_batches_of(count, way_.micro_batch > 0 ? way_.micro_batch : kBatch);
  }

  const model::Model& model_;
  comm::Communicator& world_;
  Way way_;
  plan::Layout layout_;
  std::shared_ptr<ComputeDevice> device_;
  std::unique_ptr<ParameterStore> store_;
  std::unique_ptr<BlockWalker> walker_;
  std::unique_ptr<Pipeline> pipeline_;
  double loss_ = 0;
};

using Case = std::tuple<model::Model (*)(), Shape, Way>;

class Stages : public test::RankSuite<testing::TestWithParam<Case>> {
 protected:
  void SetUp() override {
    if (std::get<Shape>(GetParam()).ranks != ranks()) GTEST_SKIP() << "for another number of ranks";
  }
  Trained together(Precision precision) {
    const auto& [make, shape, way] = GetParam();
    const model::Model model = make();
    StagedTraining training(model, *communicator_, precision, shape, way);
    for (int step = 1; step <= kSteps; ++step) training.step(step);
    return training.result();
  }
};

class StagesRounded : public Stages {};

TEST_P(Stages, InDoublePrecisionTrainAsOneProcessToOnePartInABillionPerTensor) {
  const auto& [make, shape, way] = GetParam();
  const Trained staged = together(Precision::fp64), alone = train_alone(make(), Precision::fp64, way);
  EXPECT_LT(test::difference(staged.values, alone.values).first, 1e-9);
  EXPECT_NEAR(staged.loss, alone.loss, 1e-9 * alone.loss);
  EXPECT_NEAR(staged.evaluation.loss, alone.evaluation.loss, 1e-9 * alone.evaluation.loss);
  EXPECT_EQ(staged.evaluation.correct, alone.evaluation.correct);
  EXPECT_EQ(staged.evaluation.terms, alone.evaluation.terms);
}

TEST_P(StagesRounded, InSinglePrecisionTrainAsOneProcessToRoundingAndTwiceTheSameBits) {
  const auto& [make, shape, way] = GetParam();
  const Trained staged = together(Precision::fp32), again = together(Precision::fp32);
  EXPECT_LT(test::difference(staged.values, train_alone(make(), Precision::fp32, way).values).second, 1e-5);
  EXPECT_EQ(test::difference(staged.values, again.values).first, 0);
  EXPECT_EQ(staged.loss, again.loss);
}

/// Between them, ranks own every element of the state once.
TEST_P(StagesRounded, OwnEveryElementOnce) {
  const auto& [make, shape, way] = GetParam();
  const model::Model model = make();
  StagedTraining training(model, *communicator_, Precision::fp32, shape, way);
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    for (const model::Parameter& parameter : model.blocks[block]->parameters()) {
      if (!parameter.trainable) continue;
      at::Tensor counts = at::zeros(parameter.shape, at::kDouble).flatten();
      for (const StatePiece& piece : training.owned_state())
        if (piece.name == parameter.name) counts.narrow(0, piece.begin, piece.value.numel()).add_(1);
      communicator_->all_reduce_sum({counts.data_ptr(), counts.numel(), comm::DataType::float64}).wait();
      EXPECT_TRUE(counts.eq(1).all().item<bool>()) << parameter.name;
    }
  }
}

const auto kShapes = testing::Values(
    Shape{"TwoStages", 2, {{12, {0, 1}}}}, Shape{"TwoStagesBackwards", 2, {{12, {1, 0}}}},
    Shape{"ThreeStages", 3, {{12, {2, 0, 1}}}}, Shape{"OneBesideTwo", 3, {{5, {1}}, {7, {2, 0}}}},
    Shape{"OneLeftOut", 3, {{12, {2, 1}}}}, Shape{"RootLeftOutOfTwoReplicas", 3, {{5, {1}}, {7, {2}}}},
    Shape{"FourStages", 4, {{12, {0, 1, 2, 3}}}}, Shape{"OneBesideThree", 4, {{8, {3}}, {4, {0, 1, 2}}}},
    Shape{"TwoBesideTwo", 4, {{7, {0, 2}}, {5, {3, 1}}}});
/// Of a model whose head uses the embedding's table: a replica comes back to its first rank.
const auto kClosedShapes = testing::Values(
    Shape{"TwoRanks", 2, {{12, {1, 0, 1}}}}, Shape{"ThreeRanks", 3, {{12, {0, 1, 2, 0}}}},
    Shape{"OneBesideTwo", 3, {{5, {1}}, {7, {2, 0, 2}}}}, Shape{"FourRanks", 4, {{12, {0, 3, 1, 2, 0}}}},
    Shape{"OneBesideThree", 4, {{8, {3}}, {4, {0, 1, 2, 0}}}},
    Shape{"TwoBesideTwo", 4, {{7, {0, 2, 0}}, {5, {3, 1, 3}}}});

constexpr Way kWhole{.name = "Whole"};
constexpr Way kMicroBatches{.name = "MicroBatches", .micro_batch = 2};
constexpr Way kClip{.name = "Clip", .micro_batch = 3, .clip = 0.05};
constexpr Way kPartial{.name = "PartialLastBatch", .micro_batch = 4, .clip = 0.05, .partial = true};
constexpr Way kGpipe{.name = "GpipeRecompute", .micro_batch = 2, .recompute = true, .gpipe = true};
constexpr Way kApart{.name = "Apart", .micro_batch = 2, .clip = 0.05, .apart = true};
constexpr Way kApartRecompute{
    .name = "ApartRecompute", .micro_batch = 3, .recompute = true, .apart = true, .offload_activations = true};
constexpr Way kTable{.name = "Table", .micro_batch = 2, .clip = 0.05, .partial = true, .table = true};

std::string name_of(const testing::TestParamInfo<Case>& info) {
  const auto& [make, shape, way] = info.param;
  static const std::map<model::Model (*)(), const char*> names{{&test::small_vit, "Vit"},
                                                               {&test::small_gpt, "Gpt"},
                                                               {&test::small_mlp, "Mlp"},
                                                               {&test::small_vit_lora, "VitLora"},
                                                               {&test::small_gpt_lora, "GptLora"},
                                                               {&test::packed_gpt, "GptPacked"},
                                                               {&test::packed_llama_lora, "LlamaPackedLora"}};
  return fmt::format("{}{}{}", names.at(make), shape.name, way.name);
}

/// Shapes of at most three stages: the MLP has three blocks.
const auto kShortShapes = testing::Values(
    Shape{"TwoStages", 2, {{12, {0, 1}}}}, Shape{"ThreeStages", 3, {{12, {2, 0, 1}}}},
    Shape{"OneBesideThree", 4, {{8, {3}}, {4, {0, 1, 2}}}}, Shape{"TwoBesideTwo", 4, {{7, {0, 2}}, {5, {3, 1}}}});

INSTANTIATE_TEST_SUITE_P(Vit, Stages,
                         testing::Combine(testing::Values(&test::small_vit), kShapes,
                                          testing::Values(kWhole, kMicroBatches, kClip, kPartial, kGpipe, kApart,
                                                          kApartRecompute)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Mlp, Stages,
                         testing::Combine(testing::Values(&test::small_mlp), kShortShapes,
                                          testing::Values(kMicroBatches, kPartial, kGpipe)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Gpt, Stages,
                         testing::Combine(testing::Values(&test::small_gpt), kClosedShapes,
                                          testing::Values(kMicroBatches, kClip, kPartial, kGpipe, kTable, kApart)),
                         name_of);
// Adapters: stages that train nothing, too.
INSTANTIATE_TEST_SUITE_P(VitLora, Stages,
                         testing::Combine(testing::Values(&test::small_vit_lora), kShapes,
                                          testing::Values(kClip, kPartial, kGpipe, kApart)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(GptLora, Stages,
                         testing::Combine(testing::Values(&test::small_gpt_lora), kClosedShapes,
                                          testing::Values(kClip, kPartial, kGpipe, kApartRecompute)),
                         name_of);
// Documents that share samples: all stages keep them apart.
INSTANTIATE_TEST_SUITE_P(GptPacked, Stages,
                         testing::Combine(testing::Values(&test::packed_gpt), kClosedShapes,
                                          testing::Values(kPartial, kGpipe)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(LlamaPackedLora, Stages,
                         testing::Combine(testing::Values(&test::packed_llama_lora), kShapes,
                                          testing::Values(kMicroBatches, kApartRecompute)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Vit, StagesRounded,
                         testing::Combine(testing::Values(&test::small_vit), kShapes, testing::Values(kPartial)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Gpt, StagesRounded,
                         testing::Combine(testing::Values(&test::small_gpt), kClosedShapes,
                                          testing::Values(kTable, kGpipe)),
                         name_of);

}  // namespace
}  // namespace lshdp::parallel
