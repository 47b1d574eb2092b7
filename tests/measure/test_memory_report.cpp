// Predicted memory against what stores and steps really take, in every mode.
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/measure/memory_report.h"

namespace lshdp::measure {
namespace {

using plan::Mode;
using plan::Precision;

model::Model vit() {
  return model::make_model_from_json({{"type", "vit"},
                                      {"image_size", 16},
                                      {"channels", 3},
                                      {"patch_size", 4},
                                      {"num_layers", 6},
                                      {"num_heads", 2},
                                      {"hidden_dim", 64},
                                      {"mlp_dim", 128},
                                      {"num_classes", 10}},
                                     "vit");
}

/// Its embedding is large enough to be a table of its own (4 MiB).
model::Model gpt() {
  return model::make_model_from_json(
      {{"type", "gpt2"}, {"n_layer", 3}, {"n_head", 2}, {"n_embd", 64}, {"n_positions", 16}, {"vocab_size", 17000}},
      "gpt");
}

RankSetup setup_of(Mode mode, Precision precision, bool offload = false) {
  RankSetup setup;
  setup.strategy.mode = mode;
  setup.strategy.precision = precision;
  setup.strategy.offload = offload;
  setup.memory_bytes = std::int64_t{1} << 30;
  setup.spare_memory_bytes = std::int64_t{1} << 30;
  return setup;
}

struct Way {
  const char* name;
  RankSetup setup;
};

std::vector<Way> ways() {
  std::vector<Way> ways{{"ddp", setup_of(Mode::ddp, Precision::fp32)},
                        {"ddp in bf16", setup_of(Mode::ddp, Precision::bf16)},
                        {"ddp, bf16 on the wire", setup_of(Mode::ddp, Precision::fp32)},
                        {"ddp, unequal shards", setup_of(Mode::ddp, Precision::fp32)},
                        {"fsdp", setup_of(Mode::fsdp, Precision::fp32)},
                        {"fsdp in fp64", setup_of(Mode::fsdp, Precision::fp64)},
                        {"fsdp with offload", setup_of(Mode::fsdp, Precision::fp32, true)},
                        {"lsdp", setup_of(Mode::lsdp, Precision::fp32)},
                        {"lsdp in bf16", setup_of(Mode::lsdp, Precision::bf16)},
                        {"ddp in fp16", setup_of(Mode::ddp, Precision::fp16)}};
  ways[2].setup.strategy.wire = Wire::bf16;
  ways[3].setup.shard_weights = {1, 4, 0};
  ways[8].setup.strategy.resident = 3;
  return ways;
}

class ReportMemory : public testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
};

TEST_F(ReportMemory, PredictsStoresToTheByteButForRounding) {
  MemoryBudget budget;
  for (const model::Model& model : {vit(), gpt()}) {
    for (const Way& way : ways()) {
      for (int rank = 0; rank < 3; ++rank) {
        const MemoryReport report = report_memory(model, way.setup, rank, 3, budget, 4);
        const auto device = static_cast<double>(report.measured_store_bytes);
        EXPECT_NEAR(static_cast<double>(report.store.device.total()), device, 0.001 * device + 64) << way.name;
        const auto host = static_cast<double>(report.measured_host_bytes);
        EXPECT_NEAR(static_cast<double>(report.predicted_host_bytes()), host, 0.001 * host) << way.name;
        EXPECT_EQ(host > 0, way.setup.strategy.offload || way.setup.strategy.mode == Mode::lsdp) << way.name;
      }
    }
  }
}

TEST_F(ReportMemory, PredictsAStepFromSmallerOnesToFivePercent) {
  MemoryBudget budget;
  for (const model::Model& model : {vit(), gpt()}) {
    for (const Way& way : ways()) {
      const MemoryReport report = report_memory(model, way.setup, 0, 3, budget, 16);
      const auto measured = static_cast<double>(report.measured_device_bytes);
      EXPECT_NEAR(static_cast<double>(report.predicted_device_bytes()), measured, 0.05 * measured)
          << model.name << ", " << way.name;
      EXPECT_GT(report.step_bytes, 0);
      EXPECT_GT(report.data_bytes, 0);
    }
  }
}

TEST_F(ReportMemory, ShowsWhatAModeIsFor) {
  MemoryBudget budget;
  const model::Model model = vit();
  const auto store_bytes = [&](const RankSetup& setup) {
    return report_memory(model, setup, 0, 3, budget, 4).store.device.total();
  };
  const std::int64_t ddp = store_bytes(setup_of(Mode::ddp, Precision::fp32));
  const std::int64_t fsdp = store_bytes(setup_of(Mode::fsdp, Precision::fp32));
  const std::int64_t offload = store_bytes(setup_of(Mode::fsdp, Precision::fp32, true));
  EXPECT_LT(fsdp, ddp);
  EXPECT_LT(offload, fsdp);
  EXPECT_LT(store_bytes(setup_of(Mode::lsdp, Precision::fp32)), offload);
}

TEST_F(ReportMemory, SaysWhereTheHostHasNotEnough) {
  MemoryBudget budget;
  RankSetup setup = setup_of(Mode::ddp, Precision::fp32);
  setup.memory_bytes = setup.spare_memory_bytes = 100'000;
  EXPECT_THROW(report_memory(vit(), setup, 0, 1, budget, 8), RunError);
}

}  // namespace
}  // namespace lshdp::measure
