// What a step sends over the network, by the communicator's counters: 2(N-1)/N of the gradients for ddp, 3(N-1)/N for
// fsdp.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/walker.h"
#include "models.h"
#include "rank_suite.h"

namespace lshdp::parallel {
namespace {

class Traffic : public test::RankSuite<testing::Test> {
 protected:
  /// Bytes sent by all ranks in each of a few steps of `passes` micro-batches, over N - 1: every byte of a vector that
  /// is reduced or gathered counts once.
  static double moved(const model::Model& model, const StoreOptions& options, std::int64_t passes = 1) {
    constexpr int kSteps = 3;
    const auto store = make_store(model, *communicator_, options);
    store->set_values(model::initial_values(model, 5));
    BlockWalker walker(model, *store, {.precision = options.strategy.precision});
    const model::SyntheticBatch batch = model::synthetic_batch(model.input, passes, 1);
    const std::vector<std::int64_t> micro_batches(static_cast<std::size_t>(passes), 1);
    communicator_->barrier();
    const std::int64_t before = communicator_->counters().bytes_sent;
    for (int step = 1; step <= kSteps; ++step)
      walker.train_step({.step = step, .passes = passes}, batch.input, batch.target, micro_batches);
    store->synchronize();
    communicator_->barrier();
    auto sent = static_cast<double>(communicator_->counters().bytes_sent - before) / kSteps;
    communicator_->all_reduce_sum({&sent, 1, comm::DataType::float64}).wait();
    return sent / (communicator_->size() - 1);
  }

  static double gradient_bytes(const model::Model& model) { return 4.0 * static_cast<double>(model.parameter_count()); }
};

TEST_F(Traffic, OfDdpIsTwiceTheGradients) {
  const model::Model model = test::deep_vit();
  const StoreOptions options{.strategy = {.mode = Mode::ddp}, .bucket_bytes = 0};
  EXPECT_NEAR(moved(model, options) / gradient_bytes(model), 2, 0.06);
  EXPECT_NEAR(moved(model, options, 2) / gradient_bytes(model), 2, 0.06);
}

TEST_F(Traffic, OfFsdpIsThreeTimesTheGradientsInEveryPass) {
  const model::Model model = test::deep_vit();
  const StoreOptions options{.strategy = {.mode = Mode::fsdp}, .bucket_bytes = 0};
  EXPECT_NEAR(moved(model, options) / gradient_bytes(model), 3, 0.09);
  EXPECT_NEAR(moved(model, options, 2) / gradient_bytes(model), 6, 0.3);
}

TEST_F(Traffic, OfLsdpIsTwiceTheGradientsOnHoweverManyPasses) {
  const model::Model model = test::deep_vit();
  StoreOptions options{.strategy = {.mode = Mode::lsdp}, .bucket_bytes = 0};
  for (int rank = 0; rank < communicator_->size(); ++rank) options.node_names.push_back(std::to_string(rank));
  EXPECT_NEAR(moved(model, options) / gradient_bytes(model), 2, 0.06);
  EXPECT_NEAR(moved(model, options, 2) / gradient_bytes(model), 2, 0.06);
}

TEST_F(Traffic, OfATableIsThatOfTheWholeOneAndOfTheRowsLookedUp) {
  const model::Model model = test::small_gpt();
  StoreOptions options{.strategy = {.mode = Mode::ddp}, .bucket_bytes = 0};
  const double whole = moved(model, options);
  options.table_bytes = 0;
  // The one sample of every rank has at most 8 rows of 16 elements; they go to it and come back, but for those that it
  // owns itself, and bits tell who wants what.
  const int ranks = communicator_->size();
  const double most = ranks * (2.0 * 8 * 16 * 4) / (ranks - 1) + ranks * 3;
  EXPECT_GT(moved(model, options), whole);
  EXPECT_LE(moved(model, options), whole + most);
}

TEST_F(Traffic, IsWhatTheSolverIsTold) {
  for (const model::Model& model : {test::deep_vit(), test::small_gpt()}) {
    for (const Mode mode : {Mode::ddp, Mode::fsdp}) {
      for (const std::int64_t bucket_bytes : {0, 20'000}) {
        const StoreOptions options{.strategy = {.mode = mode}, .bucket_bytes = bucket_bytes};
        const StepTraffic traffic = step_traffic(model, options);
        const auto expected = static_cast<double>(traffic.gradient_bytes + traffic.parameter_bytes);
        EXPECT_NEAR(moved(model, options) / expected, 1, 0.01) << model.name << " " << to_text(mode);
      }
    }
  }
}

}  // namespace
}  // namespace lshdp::parallel
