// Frozen parameters: what they are where they are wanted, and the memory they take.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "frozen/frozen_values.h"
#include "lshdp/comm/null_communicator.h"
#include "lshdp/core/memory.h"
#include "lshdp/model/quantized.h"
#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/walker.h"
#include "models.h"
#include "support/detached_device.h"

namespace lshdp::parallel {
namespace {

model::Model adapted(model::BasePrecision base) {
  return model::with_lora(test::small_gpt(), {.rank = 2, .alpha = 2, .targets = {"c_attn"}, .base = base}, "test");
}

struct Way {
  const char* name;
  Mode mode;
  model::BasePrecision base;
  bool apart;
};

void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

class Frozen : public testing::TestWithParam<Way> {
 protected:
  const model::Model model_ = adapted(GetParam().base);
  StoreOptions options() const {
    StoreOptions options{.strategy = {.mode = GetParam().mode}};
    options.device = GetParam().apart ? std::make_shared<test::DetachedDevice>() : make_host_device();
    return options;
  }
  static at::Tensor expected(const model::Parameter& parameter, const at::Tensor& value) {
    if (parameter.held == model::BasePrecision::full) return value;
    at::Tensor rounded = at::empty_like(value);
    model::dequantize_into(model::quantize(value, parameter.held), rounded);
    return rounded;
  }
};

TEST_P(Frozen, AreThereForEachBlockUpAndDownTheModelAgainAndAgain) {
  FrozenValues frozen(model_, options());
  const model::Values values = model::initial_values(model_, 3);
  for (std::size_t block = 0; block < values.size(); ++block) frozen.take(block, values[block]);
  const auto look_at = [&](std::size_t block) {
    frozen.acquire(block);
    const auto& parameters = model_.blocks[block]->parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (parameters[i].trainable) continue;
      EXPECT_TRUE(frozen.value(block, i).equal(expected(parameters[i], values[block][i]))) << parameters[i].name;
    }
    frozen.release(block);
  };
  for (int pass = 0; pass < 3; ++pass) {
    for (std::size_t block = 0; block < values.size(); ++block) look_at(block);
    for (std::size_t block = values.size(); block-- > 0;) look_at(block);
  }
}

TEST_P(Frozen, LieWhereAutogradFindsThemInBackward) {
  FrozenValues frozen(model_, options());
  std::vector<const void*> places;
  for (int pass = 0; pass < 2; ++pass) {
    std::size_t next = 0;
    for (std::size_t block = 0; block < model_.blocks.size(); ++block) {
      frozen.acquire(block);
      for (std::size_t i = 0; i < model_.blocks[block]->parameters().size(); ++i) {
        if (model_.blocks[block]->parameters()[i].trainable) continue;
        const void* place = frozen.value(block, i).const_data_ptr();
        if (pass == 0) places.push_back(place);
        EXPECT_EQ(places[next++], place);
      }
      frozen.release(block);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Frozen,
                         testing::Values(Way{"Ddp", Mode::ddp, model::BasePrecision::full, false},
                                         Way{"DdpNf4", Mode::ddp, model::BasePrecision::nf4, false},
                                         Way{"DdpNf4Double", Mode::ddp, model::BasePrecision::nf4_double, false},
                                         Way{"LsdpInt8", Mode::lsdp, model::BasePrecision::int8, false},
                                         Way{"Lsdp", Mode::lsdp, model::BasePrecision::full, false},
                                         Way{"LsdpApart", Mode::lsdp, model::BasePrecision::full, true},
                                         Way{"LsdpNf4Apart", Mode::lsdp, model::BasePrecision::nf4, true}),
                         [](const auto& way) { return std::string(way.param.name); });

/// The store counts what it has told beforehand.
TEST(FrozenMemory, IsWhatItWasSaidToBe) {
  for (const Mode mode : {Mode::ddp, Mode::fsdp, Mode::lsdp}) {
    for (const auto base : {model::BasePrecision::full, model::BasePrecision::int8, model::BasePrecision::nf4_double}) {
      const model::Model model = adapted(base);
      StoreOptions options{.strategy = {.mode = mode}};
      options.node_names = {"one"};
      const auto device = make_host_device();
      MemoryBudget budget(*device);
      const auto communicator = comm::make_null_communicator(0, 1);
      const std::int64_t before = budget.used();
      const auto store = make_store(model, *communicator, options);
      store->set_values(model::initial_values(model, 3));
      const std::int64_t used = budget.used() - before, said = store_memory(model, options, 0, 1).device.total();
      // Beside it: tables of levels of each tensor, counters of some bytes.
      EXPECT_NEAR(static_cast<double>(used), static_cast<double>(said), 0.05 * static_cast<double>(said));
    }
  }
}

/// A step over weights in few bits is the step over what they are rounded to.
TEST(FrozenTraining, OverQuantizedWeightsIsThatOverTheirValues) {
  const model::Model few = adapted(model::BasePrecision::nf4), full = adapted(model::BasePrecision::full);
  model::Values values = model::initial_values(few, 3), rounded = values;
  for (std::size_t block = 0; block < values.size(); ++block) {
    for (std::size_t i = 0; i < values[block].size(); ++i) {
      const model::Parameter& parameter = few.blocks[block]->parameters()[i];
      if (parameter.held == model::BasePrecision::full) continue;
      rounded[block][i] = at::empty_like(values[block][i]);
      model::dequantize_into(model::quantize(values[block][i], parameter.held), rounded[block][i]);
    }
  }
  const auto trained = [](const model::Model& model, const model::Values& first, Mode mode, bool recompute) {
    const auto communicator = comm::make_null_communicator(0, 1);
    const auto store = make_store(model, *communicator, {.strategy = {.mode = mode}});
    store->set_values(first);
    BlockWalker walker(model, *store, {.recompute = recompute});
    const model::SyntheticBatch batch = model::synthetic_batch(model.input, 4, 9);
    for (std::int64_t step = 1; step <= 5; ++step)
      walker.train_step({.step = step, .learning_rate = 1e-2, .global_terms = batch.target.numel()}, batch.input,
                        batch.target, {2, 2});
    store->synchronize();
    return store->gather_values();
  };
  const model::Values expected = trained(full, rounded, Mode::ddp, false);
  for (const Mode mode : {Mode::ddp, Mode::lsdp}) {
    for (const bool recompute : {false, true}) {
      const model::Values found = trained(few, values, mode, recompute);
      for (std::size_t block = 0; block < expected.size(); ++block) {
        for (std::size_t i = 0; i < expected[block].size(); ++i) {
          if (!expected[block][i].defined()) continue;
          EXPECT_TRUE(found[block][i].equal(expected[block][i]));
        }
      }
    }
  }
}

}  // namespace
}  // namespace lshdp::parallel
