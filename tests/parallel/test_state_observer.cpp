// Whoever writes the state behind the next step hears of each bucket before it changes, and after it has.
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/walker.h"
#include "models.h"
#include "rank_suite.h"
#include "support/detached_device.h"

namespace lshdp::parallel {
namespace {

struct Case {
  const char* name;
  Mode mode = Mode::ddp;
  bool offload = false;
  Precision precision = Precision::fp32;
  Wire wire = Wire::exact;
  double clip = 0;
  int nodes = 0;  // that ranks are spread over; 0: as they are
  bool apart = false;
  model::Model (*model)() = &test::small_gpt;
};

void PrintTo(const Case& each, std::ostream* out) { *out << each.name; }

/// Copies of what a rank owns, by bucket.
class Snapshot {
 public:
  explicit Snapshot(ParameterStore& store) {
    for (const StatePiece& piece : store.owned_state()) {
      live_[piece.bucket].push_back(piece);
      copies_[piece.bucket].push_back({piece.value.clone(), piece.first_moment.clone(), piece.second_moment.clone()});
    }
  }
  bool is_unchanged(std::size_t bucket) const {
    const auto& live = live_.at(bucket);
    const auto& copies = copies_.at(bucket);
    for (std::size_t i = 0; i < live.size(); ++i) {
      if (!at::equal(live[i].value, copies[i][0]) || !at::equal(live[i].first_moment, copies[i][1]) ||
          !at::equal(live[i].second_moment, copies[i][2]))
        return false;
    }
    return true;
  }
  std::vector<std::size_t> buckets() const {
    std::vector<std::size_t> all;
    for (const auto& [bucket, pieces] : live_) all.push_back(bucket);
    return all;
  }

 private:
  std::map<std::size_t, std::vector<StatePiece>> live_;
  std::map<std::size_t, std::vector<std::vector<at::Tensor>>> copies_;
};

/// What a store says, beside the state as it was before the step.
class Observer final : public StateObserver {
 public:
  void expect(std::unique_ptr<const Snapshot> before, std::int64_t step) {
    const std::scoped_lock lock(mutex_);
    before_ = std::move(before);
    step_ = step;
    calls_.clear();
  }
  void before_update(std::size_t bucket, std::int64_t step) override {
    const std::scoped_lock lock(mutex_);
    EXPECT_EQ(step, step_);
    EXPECT_TRUE(before_->is_unchanged(bucket)) << "bucket " << bucket << " at step " << step;
    calls_[bucket] += "before";
  }
  void after_update(std::size_t bucket, std::int64_t step) override {
    const std::scoped_lock lock(mutex_);
    EXPECT_EQ(step, step_);
    calls_[bucket] += " after";
  }
  /// To be asked after synchronize().
  void expect_each_changed_once() const {
    const std::scoped_lock lock(mutex_);
    for (const std::size_t bucket : before_->buckets()) {
      EXPECT_EQ(calls_.at(bucket), "before after") << "bucket " << bucket;
      EXPECT_FALSE(before_->is_unchanged(bucket)) << "bucket " << bucket;
    }
  }
  bool has_heard() const {
    const std::scoped_lock lock(mutex_);
    return !calls_.empty();
  }

 private:
  mutable std::mutex mutex_;
  std::unique_ptr<const Snapshot> before_;
  std::int64_t step_ = 0;
  std::map<std::size_t, std::string> calls_;
};

class StateObservers : public test::RankSuite<testing::TestWithParam<Case>> {
 protected:
  static std::unique_ptr<ParameterStore> make(const model::Model& model, const Case& each,
                                              const std::shared_ptr<ComputeDevice>& device) {
    StoreOptions options{
        .strategy = {.mode = each.mode, .offload = each.offload, .precision = each.precision, .wire = each.wire},
        .bucket_bytes = 2048,
        .device = device};
    for (int rank = 0; each.nodes > 0 && rank < ranks(); ++rank)
      options.node_names.push_back(std::to_string(rank % each.nodes));
    options.loss_scaling.initial = 64;
    auto store = make_store(model, *communicator_, options);
    store->set_values(model::initial_values(model, 1));
    return store;
  }
  static void step(const model::Model& model, BlockWalker& walker, double clip, int number) {
    const model::SyntheticBatch batch =
        model::synthetic_batch(model.input, 2, static_cast<std::uint64_t>(10 * number + rank()));
    walker.train_step({.step = number,
                       .learning_rate = 1e-2,
                       .global_terms = 2 * ranks() * model.terms_per_sample(),
                       .clip_norm = clip},
                      batch.input, batch.target, {2});
  }
};

TEST_P(StateObservers, FindTheStateOfTheStepBeforeOnceForEachBucket) {
  const Case& each = GetParam();
  const model::Model model = each.model();
  const std::shared_ptr<ComputeDevice> device =
      each.apart ? std::make_shared<test::DetachedDevice>() : make_host_device();
  const auto store = make(model, each, device);
  BlockWalker walker(model, *store, {.precision = each.precision, .device = device});
  const auto observer = std::make_shared<Observer>();
  store->observe_state(observer);
  for (int number = 1; number <= 3; ++number) {
    store->synchronize();
    observer->expect(std::make_unique<Snapshot>(*store), number);
    step(model, walker, each.clip, number);
    store->synchronize();
    observer->expect_each_changed_once();
  }
  store->observe_state(nullptr);
  observer->expect(nullptr, 4);
  step(model, walker, each.clip, 4);
  store->synchronize();
  EXPECT_FALSE(observer->has_heard());
}

INSTANTIATE_TEST_SUITE_P(
    Stores, StateObservers,
    testing::Values(Case{"Ddp"}, Case{.name = "DdpClip", .clip = 0.05},
                    Case{.name = "DdpRoundedWire", .wire = Wire::bf16}, Case{.name = "DdpApart", .apart = true},
                    Case{.name = "DdpFp16", .precision = Precision::fp16},
                    Case{.name = "DdpLora", .model = &test::small_gpt_lora}, Case{.name = "Fsdp", .mode = Mode::fsdp},
                    Case{.name = "FsdpOffload", .mode = Mode::fsdp, .offload = true},
                    Case{.name = "FsdpClipApart", .mode = Mode::fsdp, .clip = 0.05, .apart = true},
                    Case{.name = "Lsdp", .mode = Mode::lsdp},
                    Case{.name = "LsdpClipTwoNodes", .mode = Mode::lsdp, .clip = 0.05, .nodes = 2},
                    Case{.name = "LsdpBf16OneNode", .mode = Mode::lsdp, .precision = Precision::bf16, .nodes = 1},
                    Case{.name = "LsdpApart", .mode = Mode::lsdp, .apart = true},
                    Case{.name = "LsdpLora", .mode = Mode::lsdp, .model = &test::small_gpt_lora}),
    [](const testing::TestParamInfo<Case>& test) { return test.param.name; });

}  // namespace
}  // namespace lshdp::parallel
