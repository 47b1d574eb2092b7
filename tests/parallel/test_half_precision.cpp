// Training in fp16 on several ranks: the mathematics of one process, and steps that overflow somewhere.
#include <cmath>
#include <map>
#include <memory>
#include <tuple>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lshdp/comm/null_communicator.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/walker.h"
#include "models.h"
#include "rank_suite.h"

namespace lshdp::parallel {
namespace {

constexpr std::int64_t kBatch = 12;
constexpr double kNoNumberOfFp16 = 1e6;

struct Way {
  const char* name;
  Mode mode;
  bool offload = false;
  std::size_t resident = 0;
  int nodes = 0;  // rank r on node r % nodes; 0: one node
  bool table = false;
  std::int64_t micro_batch = kBatch;
  double clip = 0;
};

void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

StoreOptions options_of(const Way& way, Precision precision, const LossScaling& scaling, int ranks) {
  StoreOptions options{.strategy = {.mode = way.mode, .offload = way.offload, .precision = precision},
                       .bucket_bytes = 4096};
  // Large, so that a step is in proportion to the gradient: AdamW would make steps of rounding noise, too.
  options.adamw.epsilon = 0.1;
  options.strategy.resident = way.resident;
  options.loss_scaling = scaling;
  if (way.table) options.bucket_bytes = options.table_bytes = 0;
  for (int rank = 0; way.nodes > 0 && rank < ranks; ++rank)
    options.node_names.push_back(std::to_string(rank % way.nodes));
  return options;
}

/// A store and the steps of this rank; of several ranks, the first one has no samples and the last one most.
class Training {
 public:
  Training(const model::Model& model, comm::Communicator& communicator, const Way& way, Precision precision,
           const LossScaling& scaling = {.initial = 1024})
      : model_(model),
        communicator_(communicator),
        way_(way),
        store_(make_store(model, communicator, options_of(way, precision, scaling, communicator.size()))),
        walker_(model, *store_, {.precision = precision}) {
    store_->set_values(model::initial_values(model, 5));
  }

  ParameterStore& store() { return *store_; }
  BlockWalker& walker() { return walker_; }

  static std::int64_t border(int rank, int ranks) {
    return ranks > 1 ? kBatch * rank * (rank - 1) / (ranks * (ranks - 1)) : kBatch * rank;
  }
  std::vector<std::int64_t> micro_batches(int rank) const {
    const int ranks = communicator_.size();
    return test::micro_batches_of(border(rank + 1, ranks) - border(rank, ranks), way_.micro_batch);
  }

  /// Step number `step` of the run on the batch of `seed`, summed loss of this rank; `spoilt`: with one input that no
  /// fp16 holds.
  double step(int step, int seed, bool spoilt = false) {
    const int rank = communicator_.rank(), ranks = communicator_.size();
    const model::SyntheticBatch batch =
        model::synthetic_batch(model_.input, kBatch, 100 + static_cast<std::uint64_t>(seed));
    const std::int64_t begin = border(rank, ranks), end = border(rank + 1, ranks);
    if (spoilt) batch.input.select(0, end - 1).fill_(kNoNumberOfFp16);
    std::int64_t passes = 1;
    for (int other = 0; other < ranks; ++other) passes = std::max(passes, std::ssize(micro_batches(other)));
    return walker_.train_step({.step = step,
                               .learning_rate = 0.05,
                               .global_terms = kBatch * model_.terms_per_sample(),
                               .clip_norm = way_.clip,
                               .passes = passes},
                              batch.input.narrow(0, begin, end - begin), batch.target.narrow(0, begin, end - begin),
                              micro_batches(rank));
  }

  /// Every value and moment that this rank owns.
  std::vector<at::Tensor> owned() {
    store_->synchronize();
    std::vector<at::Tensor> tensors;
    for (const StatePiece& piece : store_->owned_state()) {
      for (const at::Tensor& tensor : {piece.value, piece.first_moment, piece.second_moment})
        tensors.push_back(tensor.clone());
    }
    return tensors;
  }

  /// Of a batch, the same on all ranks: by what the device holds.
  double loss_now() {
    const model::SyntheticBatch batch = model::synthetic_batch(model_.input, 4, 7);
    return walker_.evaluate(batch.input, batch.target).loss;
  }

 private:
  const model::Model& model_;
  comm::Communicator& communicator_;
  Way way_;
  std::unique_ptr<ParameterStore> store_;
  BlockWalker walker_;
};

at::Tensor flat(const model::Values& values) {
  std::vector<at::Tensor> parts;
  for (const auto& block : values) {
    for (const at::Tensor& value : block) parts.push_back(value.flatten().to(at::kDouble));
  }
  return at::cat(parts);
}

bool all_equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!at::equal(a[i], b[i])) return false;
  }
  return true;
}

double length(const at::Tensor& tensor) { return at::linalg_vector_norm(tensor).item<double>(); }

class OnRanks : public test::RankSuite<testing::Test> {
 protected:
  static bool is_last() { return communicator_->rank() + 1 == communicator_->size(); }
};

// How far two runs may be apart, over how far they came: a rounding of fp16 is 2^-11 of a number at most.
constexpr double kRoundings = 16.0 / 2048;
constexpr int kSteps = 10;

const Way kDdp{.name = "Ddp", .mode = Mode::ddp};
const Way kDdpTable{.name = "DdpTable", .mode = Mode::ddp, .table = true, .micro_batch = 2};
const Way kDdpClip{.name = "DdpClip", .mode = Mode::ddp, .micro_batch = 3, .clip = 0.1};
const Way kFsdp{.name = "Fsdp", .mode = Mode::fsdp, .micro_batch = 3};
const Way kFsdpOffload{.name = "FsdpOffload", .mode = Mode::fsdp, .offload = true};
const Way kLsdpOneNode{.name = "LsdpOneNode", .mode = Mode::lsdp, .micro_batch = 2};
const Way kLsdpTwoNodes{.name = "LsdpTwoNodes", .mode = Mode::lsdp, .resident = 2, .nodes = 2};

// ---- The same mathematics.

class HalfPrecision : public OnRanks, public testing::WithParamInterface<std::tuple<model::Model (*)(), Way>> {
 protected:
  static at::Tensor trained(const model::Model& model, comm::Communicator& communicator, Way way, Precision precision) {
    Training training(model, communicator, way, precision);
    for (int step = 1; step <= kSteps; ++step) training.step(step, step);
    training.store().synchronize();
    EXPECT_EQ(training.store().loss_scale().skipped_steps, 0);
    return flat(training.store().gather_values());
  }
};

TEST_P(HalfPrecision, IsTheTrainingOfOneProcessToAFewRoundingsOfWhatItMoved) {
  const auto& [make, way] = GetParam();
  const model::Model model = make();
  const auto alone = comm::make_null_communicator(0, 1);
  const Way whole{.name = "alone", .mode = Mode::ddp, .clip = way.clip};
  const at::Tensor begin = flat(model::initial_values(model, 5)), one = trained(model, *alone, whole, Precision::fp16);
  const at::Tensor together = trained(model, *communicator_, way, Precision::fp16);
  const double moved = length(one - begin);
  EXPECT_GT(moved, 0.005 * length(begin));
  EXPECT_LT(length(together - one), kRoundings * moved);
  // It is fp16, and no further from fp32 than its roundings.
  const double from_fp32 = length(together - trained(model, *alone, whole, Precision::fp32));
  EXPECT_GT(from_fp32, 1e-5 * moved);
  EXPECT_LT(from_fp32, 4 * kRoundings * moved);
}

std::string name_of(const testing::TestParamInfo<HalfPrecision::ParamType>& info) {
  const auto& [make, way] = info.param;
  const std::string model = make == &test::small_vit ? "Vit" : make == &test::small_gpt ? "Gpt" : "Mlp";
  return model + way.name;
}

INSTANTIATE_TEST_SUITE_P(Ways, HalfPrecision,
                         testing::Combine(testing::Values(&test::small_vit, &test::small_gpt, &test::small_mlp),
                                          testing::Values(kDdp, kDdpClip, kFsdp, kFsdpOffload, kLsdpOneNode,
                                                          kLsdpTwoNodes)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Table, HalfPrecision,
                         testing::Combine(testing::Values(&test::small_gpt), testing::Values(kDdpTable)), name_of);

// ---- Overflows.

class Overflow : public OnRanks, public testing::WithParamInterface<Way> {};

TEST_P(Overflow, OfOneRankSkipsTheStepOnAll) {
  const model::Model model = test::small_vit();
  Training training(model, *communicator_, GetParam(), Precision::fp16);
  training.step(1, 1);
  const std::vector<at::Tensor> before = training.owned();
  const double loss = training.loss_now();

  const double spoilt = training.step(2, 2, is_last());
  EXPECT_EQ(std::isfinite(spoilt), !is_last());
  EXPECT_TRUE(all_equal(training.owned(), before));
  EXPECT_EQ(training.loss_now(), loss);
  const LossScale scale = training.store().loss_scale();
  EXPECT_EQ(scale.scale, 512);
  EXPECT_EQ(scale.good_steps, 0);
  EXPECT_EQ(scale.skipped_steps, 1);
  EXPECT_EQ(training.store().report_of(2).loss_scale, 1024);
  double norm_of_all = training.store().report_of(2).local_squared_norm;
  communicator_->all_reduce_sum({&norm_of_all, 1, comm::DataType::float64}).wait();
  EXPECT_FALSE(std::isfinite(norm_of_all));

  EXPECT_TRUE(std::isfinite(training.step(3, 3)));
  EXPECT_FALSE(all_equal(training.owned(), before));
  EXPECT_TRUE(std::isfinite(training.loss_now()));
  EXPECT_TRUE(std::isfinite(training.store().report_of(3).local_squared_norm));
  EXPECT_EQ(training.store().loss_scale().good_steps, 1);
}

TEST_P(Overflow, LeavesTheTrainingThatItWouldHaveBeenWithoutTheStep) {
  const model::Model model = test::small_vit();
  const auto trained = [&](bool with_overflow) {
    Training training(model, *communicator_, GetParam(), Precision::fp16);
    int number = 0;
    training.step(++number, 1);
    if (with_overflow) {
      training.step(++number, 9, is_last());
    } else {
      training.store().synchronize();
      training.store().set_loss_scale({.scale = 512});
    }
    for (int seed = 2; seed <= 4; ++seed) training.step(++number, seed);
    return training.owned();
  };
  EXPECT_TRUE(all_equal(trained(true), trained(false)));
}

TEST_P(Overflow, GoesOnUntilTheScaleFitsAndThenTheScaleGrowsAgain) {
  const model::Model model = test::small_gpt();
  double fits = 0;
  std::vector<at::Tensor> after_first_update;
  {
    Training training(model, *communicator_, GetParam(), Precision::fp16, {.initial = 0x1p32, .growth_interval = 3});
    const std::vector<at::Tensor> before = training.owned();
    int step = 0;
    std::int64_t skipped = 0;
    do {
      EXPECT_TRUE(all_equal(training.owned(), before));
      training.step(++step, 1);
      after_first_update = training.owned();
      skipped = training.store().loss_scale().skipped_steps;
    } while (skipped == step && step < 32);
    EXPECT_GT(skipped, 4);
    fits = training.store().loss_scale().scale;
    EXPECT_EQ(fits, std::ldexp(1.0, 32 - static_cast<int>(skipped)));
    for (int good = 1; good < 3; ++good) training.step(++step, 1);
    training.store().synchronize();
    EXPECT_EQ(training.store().loss_scale().scale, 2 * fits);
  }
  Training fitting(model, *communicator_, GetParam(), Precision::fp16, {.initial = fits});
  fitting.step(1, 1);
  EXPECT_TRUE(all_equal(after_first_update, fitting.owned()));
}

std::string name_of_way(const testing::TestParamInfo<Way>& info) { return info.param.name; }

// Ways in which no sum depends on who comes first, so that runs can be compared bit by bit.
INSTANTIATE_TEST_SUITE_P(Ways, Overflow, testing::Values(kDdp, kDdpClip, kDdpTable, kFsdp, kFsdpOffload, kLsdpTwoNodes),
                         name_of_way);

// ---- What fp16 is not for, and what it is.

class Half : public OnRanks {};

/// Later the loss of the small GPT jumps by a tenth of what it began with, in fp32 as well; a rounding decides when
/// (four ranks on one processor: fp32 between steps 50 and 55, fp16 between 55 and 60). Until then both agree to 1e-3.
constexpr int kSmoothSteps = 40;

TEST_F(Half, DoesNotTravelAsBf16) {
  StoreOptions options{.strategy = {.precision = Precision::fp16, .wire = Wire::bf16}};
  EXPECT_THROW(make_store(test::small_mlp(), *communicator_, options), std::invalid_argument);
}

TEST_F(Half, LearnsWhatFp32Learns) {
  for (const auto make : {&test::small_vit, &test::small_gpt, &test::small_mlp}) {
    const model::Model model = make();
    const auto learnt = [&](Precision precision) {
      Training training(model, *communicator_, kDdp, precision, {});
      std::vector<double> losses;
      for (int step = 1; step <= kSmoothSteps; ++step) {
        double loss = training.step(step, 1);
        communicator_->all_reduce_sum({&loss, 1, comm::DataType::float64}).wait();
        losses.push_back(loss / static_cast<double>(kBatch * model.terms_per_sample()));
      }
      training.store().synchronize();
      return losses;
    };
    const std::vector<double> half = learnt(Precision::fp16), single = learnt(Precision::fp32);
    EXPECT_LT(half.back(), 0.7 * half.front()) << model.name;
    EXPECT_NEAR(half.back(), single.back(), 0.02 * single.front()) << model.name;
  }
}

}  // namespace
}  // namespace lshdp::parallel
