// The probe trains a real model under a real budget: its answer is what trying every batch would give.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dry_run.h"
#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/measure/max_batch.h"
#include "support/detached_device.h"

namespace lshdp::measure {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

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

RankSetup with_memory(std::int64_t bytes) {
  RankSetup setup;
  setup.memory_bytes = bytes;
  setup.spare_memory_bytes = 512 * kMiB;
  return setup;
}

/// Whether a step on `batch` samples runs in the budget, tried without the search.
bool runs(const model::Model& model, const RankSetup& setup, std::int64_t batch, int batches_ahead,
          MemoryBudget& budget) {
  budget.set_limit(setup.memory_bytes);
  try {
    std::vector<model::SyntheticBatch> loaded;
    for (int i = 0; i <= batches_ahead; ++i) loaded.push_back(synthetic_batch(model.input, batch, 1));
    DryRun(model, setup, 0, 1).finish_step(loaded.front());
  } catch (const std::exception& error) {
    if (!is_out_of_memory(error)) throw;
    return false;
  }
  return true;
}

class ProbeMaxBatch : public testing::Test {
 protected:
  // On a busy machine several threads wait for each other far longer than they compute.
  void SetUp() override { at::set_num_threads(1); }
};

TEST_F(ProbeMaxBatch, LetsAsManyBlocksStayAsTheBudgetHolds) {
  const model::Model model = small_vit();
  MemoryBudget budget;
  std::size_t before = 0;
  for (const std::int64_t bytes : {kMiB, 3 * kMiB / 2, 64 * kMiB}) {
    RankSetup setup = with_memory(bytes);
    setup.strategy.mode = plan::Mode::lsdp;
    const RankSetup decided = with_resident_blocks(model, setup, 0, 2, budget, 4);
    ASSERT_TRUE(decided.strategy.resident.has_value());
    EXPECT_GE(*decided.strategy.resident, before);
    before = *decided.strategy.resident;
    EXPECT_TRUE(runs(model, decided, 4, 2, budget));
  }
  EXPECT_EQ(before, model.blocks.size());
  RankSetup told = with_memory(kMiB);
  told.strategy.mode = plan::Mode::lsdp;
  told.strategy.resident = 1;
  EXPECT_EQ(with_resident_blocks(model, told, 0, 2, budget, 4).strategy.resident, 1U);
}

/// What lsdp does on `device` in the smallest budget in which all blocks stay there, to the KiB.
RankSetup barely_all_resident(const model::Model& model, const std::shared_ptr<ComputeDevice>& device,
                              MemoryBudget& budget) {
  for (std::int64_t memory = kMiB / 32; memory < kMiB; memory += 1024) {
    RankSetup setup = with_memory(memory);
    setup.strategy.mode = plan::Mode::lsdp;
    setup.compute_device = device;
    const RankSetup decided = with_resident_blocks(model, setup, 0, 1, budget, 4);
    if (*decided.strategy.resident == model.blocks.size()) return decided;
  }
  throw std::logic_error("the model does not fit");
}

/// Whether that runs with a fiftieth less.
bool runs_with_less(const model::Model& model, RankSetup setup, MemoryBudget& budget) {
  setup.memory_bytes -= setup.memory_bytes / 50;
  return runs(model, setup, 4, 2, budget);
}

TEST_F(ProbeMaxBatch, LeavesAFiftiethFreeOnADeviceApart) {
  const model::Model model = small_vit();
  const auto leaves_a_fiftieth = [&](const std::shared_ptr<ComputeDevice>& device) {
    MemoryBudget budget(*device);
    return runs_with_less(model, barely_all_resident(model, device, budget), budget);
  };
  EXPECT_TRUE(leaves_a_fiftieth(std::make_shared<test::DetachedDevice>()));
  EXPECT_FALSE(leaves_a_fiftieth(make_host_device())) << "the budget is not near enough to what is needed";
}

TEST_F(ProbeMaxBatch, IsWhatTryingEveryBatchFinds) {
  const model::Model model = small_vit();
  MemoryBudget budget;
  const MaxBatchOptions options;
  for (const std::int64_t bytes : {kMiB / 2, kMiB, 3 * kMiB / 2}) {
    const RankSetup setup = with_memory(bytes);
    const MaxBatchResult result = probe_max_batch(model, setup, 0, 1, budget, options);
    std::int64_t by_trying = 0;
    while (runs(model, setup, by_trying + 1, options.batches_ahead, budget)) ++by_trying;
    EXPECT_EQ(result.max_batch, by_trying) << bytes;
    EXPECT_GT(result.max_batch, 1) << bytes;
    EXPECT_EQ(result.limited_by, LimitedBy::memory);
    EXPECT_LE(result.peak_bytes, bytes);
    EXPECT_GT(result.peak_bytes, bytes * 8 / 10) << "one sample more is not worth a fifth of the budget here";
  }
}

TEST_F(ProbeMaxBatch, LeavesNothingBehind) {
  const model::Model model = small_vit();
  MemoryBudget budget;
  probe_max_batch(model, with_memory(kMiB), 0, 1, budget, {});
  EXPECT_EQ(budget.used(), 0);
  EXPECT_EQ(budget.limit(), kMiB);
}

TEST_F(ProbeMaxBatch, WhatTheRankAlreadyHoldsCounts) {
  const model::Model model = small_vit();
  MemoryBudget budget;
  const auto free = probe_max_batch(model, with_memory(kMiB), 0, 1, budget, {});
  const at::Tensor held = at::zeros({kMiB / 4}, at::kByte);
  const auto crowded = probe_max_batch(model, with_memory(kMiB), 0, 1, budget, {});
  EXPECT_LT(crowded.max_batch, free.max_batch);
  EXPECT_GT(crowded.max_batch, 0);
}

TEST_F(ProbeMaxBatch, AModelThatDoesNotFitSaysWhatItNeeds) {
  const model::Model model = small_vit();
  MemoryBudget budget;
  const MaxBatchResult small = probe_max_batch(model, with_memory(20'000), 0, 1, budget, {});
  EXPECT_EQ(small.max_batch, 0);
  EXPECT_FALSE(small.needs_more);
  EXPECT_GT(small.needed_bytes, 4 * 4 * model.parameter_count());  // values, gradients, two moments
  EXPECT_GT(probe_max_batch(model, with_memory(small.needed_bytes), 0, 1, budget, {}).max_batch, 0);
  EXPECT_EQ(probe_max_batch(model, with_memory(small.needed_bytes - 1), 0, 1, budget, {}).max_batch, 0);
}

TEST_F(ProbeMaxBatch, WhatTheHostCannotGiveIsALowerBound) {
  const model::Model model = small_vit();
  MemoryBudget budget;
  RankSetup setup = with_memory(20'000);
  setup.spare_memory_bytes = 30'000;
  const MaxBatchResult result = probe_max_batch(model, setup, 0, 1, budget, {});
  EXPECT_TRUE(result.needs_more);
  EXPECT_GT(result.needed_bytes, 30'000);
}

TEST_F(ProbeMaxBatch, MoreRanksShareTheStateAndLeaveMoreForSamples) {
  const model::Model model = small_vit();
  MemoryBudget budget;
  const auto alone = probe_max_batch(model, with_memory(kMiB), 0, 1, budget, {});
  const auto one_of_two = probe_max_batch(model, with_memory(kMiB), 0, 2, budget, {});
  // Half of the moments goes away, a receive buffer of half the gradients comes.
  EXPECT_GE(one_of_two.max_batch, alone.max_batch);
}

TEST_F(ProbeMaxBatch, RecomputeFitsMore) {
  const model::Model model = small_vit();
  MemoryBudget budget;
  RankSetup setup = with_memory(2 * kMiB);
  const auto kept = probe_max_batch(model, setup, 0, 1, budget, {});
  setup.strategy.recompute = true;
  EXPECT_GT(probe_max_batch(model, setup, 0, 1, budget, {}).max_batch, kept.max_batch);
}

TEST_F(ProbeMaxBatch, StopsAtTheLargestThatIsWanted) {
  const model::Model model = small_vit();
  MemoryBudget budget;
  const auto result = probe_max_batch(model, with_memory(64 * kMiB), 0, 1, budget, {.largest = 5});
  EXPECT_EQ(result.max_batch, 5);
  EXPECT_EQ(result.limited_by, LimitedBy::largest);
}

TEST(RequireFitSomewhere, NamesTheBytesOfEveryRank) {
  std::vector<MaxBatchResult> results(2);
  results[0] = {.rank = 0, .host = "a", .memory_bytes = 1024, .needed_bytes = 4096};
  results[1] = {.rank = 1, .host = "b", .memory_bytes = 2048, .needed_bytes = 4096, .needs_more = true};
  try {
    require_fit_somewhere(results, "huge", {});
    FAIL() << "it fits nowhere";
  } catch (const RunError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("rank 0 (a) has 1.00 KiB and needs 4.00 KiB"));
    EXPECT_THAT(error.what(), testing::HasSubstr("rank 1 (b) has 2.00 KiB and needs more than 4.00 KiB"));
  }
  results[1].max_batch = 1;
  EXPECT_NO_THROW(require_fit_somewhere(results, "huge", {}));
}

TEST(MaxBatchToJson, HoldsEveryRank) {
  std::vector<MaxBatchResult> results(1);
  results[0] = {
      .rank = 0, .host = "a", .memory_bytes = 1024, .max_batch = 7, .limited_by = LimitedBy::time, .peak_bytes = 9};
  const Json json = max_batch_to_json(results, "m", with_memory(1024));
  EXPECT_EQ(json.at("version"), 1);
  EXPECT_EQ(json.at("mode"), "ddp");
  EXPECT_EQ(json.at("precision"), "fp32");
  EXPECT_EQ(json.at("ranks").at(0).at("max_batch"), 7);
  EXPECT_EQ(json.at("ranks").at(0).at("limited_by"), "time");
}

}  // namespace
}  // namespace lshdp::measure
