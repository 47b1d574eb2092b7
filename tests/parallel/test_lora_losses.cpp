// Losses of adapters that train are PEFT's, step by step.
#include <filesystem>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/json.h"
#include "lshdp/model/peft.h"
#include "lshdp/model/safetensors.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/walker.h"

namespace lshdp::parallel {
namespace {

class BesidePeft : public testing::TestWithParam<const char*> {
 protected:
  const std::filesystem::path folder_ =
      (std::filesystem::path(LSHDP_TEST_DATA) / "../../model/data" / GetParam()).lexically_normal();
  const std::string description_ = (folder_ / "base.json").string();
  const model::Model model_ =
      model::with_lora(model::make_model(description_),
                       model::read_adapter_config(read_json(folder_ / model::kAdapterConfigFile), "config"), "test");
  const model::NamedTensors expected_ = model::read_safetensors(folder_ / "reference.safetensors");

  model::Values values() const {
    model::Values values = model::read_weights(model::make_model(description_), folder_ / "base/model.safetensors");
    const auto tensors = model::open_adapter_tensors(folder_ / model::kAdapterFile);
    const model::Values adapter = model::read_adapter(model_, *tensors);
    for (std::size_t block = 0; block < values.size(); ++block)
      values[block].insert(values[block].end(),
                           adapter[block].begin() + static_cast<std::ptrdiff_t>(values[block].size()),
                           adapter[block].end());
    return values;
  }

  /// The largest difference of a step's mean loss, relative to PEFT's.
  double worst_loss(Mode mode, Precision precision) const {
    const auto communicator = comm::make_null_communicator(0, 1);
    const auto store = make_store(model_, *communicator, {.strategy = {.mode = mode, .precision = precision}});
    store->set_values(values());
    BlockWalker walker(model_, *store, {.precision = precision});
    const at::Tensor input = expected_.at("input"), target = expected_.at("target"), losses = expected_.at("losses");
    double worst = 0;
    for (std::int64_t step = 1; step <= losses.numel(); ++step) {
      const double sum = walker.train_step({.step = step, .learning_rate = 1e-2, .global_terms = target.numel()}, input,
                                           target, {input.size(0)});
      const double expected = losses[step - 1].item<double>();
      worst = std::max(worst, std::abs(sum / static_cast<double>(target.numel()) - expected) / expected);
    }
    store->synchronize();
    return worst;
  }
};

// Sums in another order, through 20 steps; transformers takes Llama's angles in float32.
TEST_P(BesidePeft, InDoublePrecisionToOnePartInABillion) {
  const double tolerance = std::string(GetParam()) == "lora_llama" ? 1e-6 : 1e-9;
  for (const Mode mode : {Mode::ddp, Mode::fsdp, Mode::lsdp}) EXPECT_LT(worst_loss(mode, Precision::fp64), tolerance);
}

TEST_P(BesidePeft, InSinglePrecisionToRounding) { EXPECT_LT(worst_loss(Mode::ddp, Precision::fp32), 1e-4); }

INSTANTIATE_TEST_SUITE_P(All, BesidePeft, testing::Values("lora_gpt2", "lora_llama", "lora_vit"));

}  // namespace
}  // namespace lshdp::parallel
