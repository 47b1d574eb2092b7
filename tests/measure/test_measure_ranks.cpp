// Probing and profiling on real ranks of unequal memory and speed: no rank waits for ever, and all get the same answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/comm/agree.h"
#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/measure/profile.h"
#include "lshdp/plan/layout_planner.h"
#include "lshdp/plan/transfer_sizes.h"
#include "measure/models.h"
#include "support/temporary_directory.h"

namespace lshdp::measure {
namespace {

constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kTooLittle = 20'000;

model::Model small_vit() {
  return model::make_model_from_json({{"type", "vit"},
                                      {"image_size", 16},
                                      {"channels", 1},
                                      {"patch_size", 4},
                                      {"num_layers", 2},
                                      {"num_heads", 2},
                                      {"hidden_dim", 16},
                                      {"mlp_dim", 32},
                                      {"num_classes", 10}},
                                     "small");
}

class OnRanks : public testing::Test {
 protected:
  void TearDown() override {
    communicator_->barrier();
    communicator_.reset();
  }
  comm::Communicator& communicator() { return *communicator_; }
  int rank() const { return communicator_->rank(); }
  int size() const { return communicator_->size(); }

  /// `value` for rank 0, `others` for the rest.
  template <typename T>
  std::vector<T> first_and_others(T value, T others) const {
    std::vector<T> values(static_cast<std::size_t>(size()), others);
    values[0] = value;
    return values;
  }
  void expect_same_on_all_ranks(const std::string& text) {
    for (const std::string& other : comm::all_gather_text(communicator(), text)) EXPECT_EQ(other, text);
  }
  /// The message with which all ranks refuse `request`, empty if they do not.
  std::string refusal(const RankRequest& request) {
    try {
      set_up_rank(communicator(), request);
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.exit_code(), 2);
      return error.what();
    }
    return "";
  }

 private:
  comm::MpiSession session_{nullptr, nullptr};
  std::unique_ptr<comm::Communicator> communicator_ = comm::make_mpi_communicator(session_);
};

using SetUpRank = OnRanks;
using ProbeMaxBatches = OnRanks;
using MeasureProfile = OnRanks;

TEST_F(SetUpRank, FillsInWhatIsLeftOpen) {
  const RankSetup setup = set_up_rank(communicator(), {});
  EXPECT_GE(setup.threads, 1);
  EXPECT_EQ(at::get_num_threads(), setup.threads);
  EXPECT_GT(setup.memory_bytes, kMiB);
  EXPECT_EQ(setup.speed, 1);
  EXPECT_FALSE(setup.host.empty());
}

TEST_F(SetUpRank, GivesEachRankItsEntry) {
  RankRequest request;
  request.memory_bytes = first_and_others<std::int64_t>(5 * kMiB, 3 * kMiB);
  request.speeds = first_and_others(0.5, 0.1);
  const RankSetup setup = set_up_rank(communicator(), request);
  EXPECT_EQ(setup.memory_bytes, rank() == 0 ? 5 * kMiB : 3 * kMiB);
  EXPECT_EQ(setup.speed, rank() == 0 ? 0.5 : 0.1);
  EXPECT_EQ(setup.threads, 1) << "emulated ranks have one thread unless told otherwise";
}

TEST_F(SetUpRank, AllRanksRefuseWhatCannotBe) {
  RankRequest lists;
  lists.memory_bytes.assign(static_cast<std::size_t>(size()) + 1, kMiB);
  EXPECT_THAT(refusal(lists), testing::HasSubstr("--memory"));
  RankRequest speeds;
  speeds.speeds = first_and_others(1.0, 1.0);
  speeds.speeds.back() = 1.5;
  EXPECT_THAT(refusal(speeds), testing::HasSubstr("--emulate-speed: 1.5"));
  RankRequest threads;
  threads.threads = {0};
  EXPECT_THAT(refusal(threads), testing::HasSubstr("--threads"));
}

TEST_F(ProbeMaxBatches, RanksRunOutOfMemoryOnTheirOwn) {
  MemoryBudget budget;
  RankRequest request;
  request.threads = {1};
  for (int r = 0; r < size(); ++r) request.memory_bytes.push_back(r == 1 ? kTooLittle : (2 + r) * kMiB / 2);
  const RankSetup setup = set_up_rank(communicator(), request);
  const model::Model model = small_vit();
  const auto results = probe_max_batches(communicator(), model, setup, budget, {});
  ASSERT_EQ(results.size(), static_cast<std::size_t>(size()));
  for (int r = 0; r < size(); ++r) {
    const MaxBatchResult& result = results[static_cast<std::size_t>(r)];
    EXPECT_EQ(result.rank, r);
    EXPECT_EQ(result.memory_bytes, request.memory_bytes[static_cast<std::size_t>(r)]);
    EXPECT_LE(result.peak_bytes, result.memory_bytes);
    if (r == 1) {
      EXPECT_EQ(result.max_batch, 0);
      EXPECT_GT(result.needed_bytes, kTooLittle);
    } else {
      EXPECT_GT(result.max_batch, 0);
    }
  }
  if (size() > 2) {
    EXPECT_GT(results[2].max_batch, results[0].max_batch) << "it has twice the memory";
  }
  expect_same_on_all_ranks(max_batch_to_json(results, "small", setup).dump());
}

TEST_F(MeasureProfile, IsAFileThatTheOptimizerReads) {
  MemoryBudget budget;
  RankRequest request;
  request.memory_bytes = {64 * kMiB};
  request.speeds = first_and_others(0.5, 0.1);
  const RankSetup setup = set_up_rank(communicator(), request);
  const model::Model model = small_vit();
  const plan::Profile profile =
      measure_profile(communicator(), model, setup, budget, {.total = 20, .curve_seconds = 3, .network_seconds = 0.5});
  expect_same_on_all_ranks(plan::to_json(profile).dump());

  const test::TemporaryDirectory folder;
  plan::write_profile(folder / "profile.json", profile);
  const plan::Profile read = plan::read_profile(folder / "profile.json");
  EXPECT_EQ(read.model, "small");
  EXPECT_EQ(read.parameter_count, model.parameter_count());
  EXPECT_GE(read.gradient_bytes, 4 * model.parameter_count());
  EXPECT_EQ(read.data_shape, (std::vector<std::int64_t>{1, 16, 16}));
  ASSERT_EQ(read.ranks.size(), static_cast<std::size_t>(size()));
  for (const plan::RankProfile& one : read.ranks) {
    EXPECT_EQ(one.max_batch, 20);
    EXPECT_EQ(one.max_batch_from, plan::MaxBatchFrom::limit);
    EXPECT_EQ(one.memory_bytes, 64 * kMiB);
    EXPECT_EQ(one.speed, one.rank == 0 ? 0.5 : 0.1);
    EXPECT_EQ(one.curve.front().batch, 1);
    EXPECT_LE(one.curve.back().batch, one.max_batch);  // where time ended it on a busy machine
    EXPECT_GT(one.update_seconds, 0);
  }
  EXPECT_EQ(read.network.bytes_per_second > 0, size() > 1);
  // What follows must have been measured with the sizes that its reader will choose.
  const auto sizes = plan::transfer_sizes(read);
  ASSERT_EQ(sizes.has_value(), size() > 1);
  EXPECT_EQ(communicator().send_sizes().segment_bytes, sizes ? sizes->segment_bytes : comm::SendSizes{}.segment_bytes);
  EXPECT_EQ(budget.used(), 0);
}

TEST_F(MeasureProfile, GoesOnWithoutARankThatCannotHoldTheModel) {
  if (size() == 1) return;
  MemoryBudget budget;
  RankRequest request;
  request.memory_bytes = first_and_others(32 * kMiB, kTooLittle);
  const RankSetup setup = set_up_rank(communicator(), request);
  const plan::Profile profile = measure_profile(communicator(), small_vit(), setup, budget,
                                                {.total = 4, .curve_seconds = 1, .network_seconds = 0.2});
  EXPECT_GE(profile.ranks[0].max_batch, 1);
  EXPECT_EQ(profile.ranks[1].max_batch, 0);
  EXPECT_TRUE(profile.ranks[1].curve.empty());
  EXPECT_NO_THROW(plan::profile_from_json(plan::to_json(profile), "profile"));
}

TEST_F(MeasureProfile, FailsOnEveryRankWhereTheModelFitsNowhere) {
  MemoryBudget budget;
  RankRequest request;
  request.memory_bytes = {kTooLittle};
  const RankSetup setup = set_up_rank(communicator(), request);
  try {
    measure_profile(communicator(), small_vit(), setup, budget, {});
    ADD_FAILURE() << "it fits nowhere";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.exit_code(), 1);
    EXPECT_THAT(error.what(), testing::HasSubstr("rank 0"));
    EXPECT_THAT(error.what(), testing::HasSubstr("needs"));
  }
}

TEST_F(MeasureProfile, StepsTogetherAreThoseOfTheLayoutAskedFor) {
  if (size() == 1) GTEST_SKIP() << "one rank trains no steps together";
  MemoryBudget budget;
  RankRequest request;
  request.speeds = first_and_others(0.5, 0.3);
  const RankSetup setup = set_up_rank(communicator(), request);
  const model::Model model = small_vit();
  const plan::LayoutOptions stages{.total = 12, .kind = plan::LayoutKind::pipeline, .stages = plan::StageCut::uniform};
  const plan::Profile profile = measure_profile(
      communicator(), model, setup, budget,
      {.total = 12, .curve_seconds = 2, .network_seconds = 0.5, .calibration_seconds = 1, .layout = stages});
  expect_same_on_all_ranks(plan::to_json(profile).dump());
  EXPECT_EQ(profile.network.exposed_factor, 1) << "steps of split batches change it";
  for (const plan::RankProfile& rank : profile.ranks) {
    EXPECT_NE(rank.contention_factor, 1) << rank.rank;
    EXPECT_GE(rank.contention_factor, 0.5);
    EXPECT_LE(rank.contention_factor, 4);
  }
}

/// No rank holds the model, two together do.
constexpr std::int64_t kForAPart = 7 * kMiB / 2;

TEST_F(MeasureProfile, TimesAModelInPartsThatNoRankHolds) {
  if (size() == 1) GTEST_SKIP() << "one rank has no layout with stages";
  MemoryBudget budget;
  RankRequest request;
  request.memory_bytes = {kForAPart};
  const RankSetup setup = set_up_rank(communicator(), request);
  const model::Model model = test::deeper_vit();
  // So small a model takes a good part for what the model of memory leaves out.
  const plan::LayoutOptions stages{
      .total = 12, .kind = plan::LayoutKind::pipeline, .stages = plan::StageCut::uniform, .memory_share = 0.75};
  ProfileOptions options{
      .total = 12, .curve_seconds = 1, .network_seconds = 0.5, .calibration_seconds = 1, .in_parts = true};
  options.layout = stages;
  const plan::Profile profile = measure_profile(communicator(), model, setup, budget, options);
  expect_same_on_all_ranks(plan::to_json(profile).dump());
  const test::TemporaryDirectory folder;
  plan::write_profile(folder / "profile.json", profile);
  const plan::Profile read = plan::read_profile(folder / "profile.json");
  ASSERT_EQ(read.blocks.size(), model.blocks.size());
  for (const plan::RankProfile& rank : read.ranks) {
    EXPECT_EQ(rank.max_batch, 0);
    ASSERT_FALSE(rank.curve.empty());
    EXPECT_EQ(rank.curve.front().batch, 1);
    ASSERT_EQ(rank.block_times.size(), rank.curve.size());
    for (const double seconds : rank.block_times.front().forward) EXPECT_GT(seconds, 0);
    EXPECT_GT(rank.update_seconds, 0);
  }
  const plan::Layout layout = plan::solve_layout(read, stages).layout;
  ASSERT_EQ(layout.replicas.size(), 1);
  EXPECT_GT(layout.replicas.front().stages.size(), 1);
  for (const plan::Stage& stage : layout.replicas.front().stages) EXPECT_LE(stage.predicted_bytes, kForAPart);
  EXPECT_THROW(measure_profile(communicator(), model, setup, budget, {.total = 12}), AgreedError)
      << "data parallel training needs a rank that holds the model";
}

}  // namespace
}  // namespace lshdp::measure
