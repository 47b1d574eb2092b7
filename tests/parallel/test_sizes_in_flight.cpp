// What sizes in flight do to training: segments and sends change no bit, buckets only the order of a sum.
#include <algorithm>
#include <memory>
#include <string>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lshdp/parallel/make_store.h"
#include "lshdp/parallel/walker.h"
#include "rank_suite.h"

namespace lshdp::parallel {
namespace {

constexpr int kSteps = 4;
constexpr std::int64_t kEach = 3;  // samples of a rank

/// Blocks of 256 KiB and more, so that segments of 64 KiB cut them, and a small one.
model::Model wide_mlp() {
  return model::make_model_from_json(
      {{"type", "mlp"}, {"input_size", 192}, {"hidden_sizes", {384, 384, 16}}, {"output_size", 10}}, "wide");
}

class SizesInFlight : public test::RankSuite<testing::TestWithParam<Mode>> {
 protected:
  /// Values after some steps with these sizes.
  model::Values trained(const comm::SendSizes& sizes, std::int64_t bucket_bytes, Precision precision) {
    communicator_->set_send_sizes(sizes);
    const model::Model model = wide_mlp();
    StoreOptions options{.strategy = {.mode = GetParam(), .precision = precision}, .bucket_bytes = bucket_bytes};
    for (int rank = 0; rank < communicator_->size(); ++rank) options.node_names.push_back(std::to_string(rank));
    const auto store = make_store(model, *communicator_, options);
    store->set_values(model::initial_values(model, 5));
    BlockWalker walker(model, *store, {.precision = precision});
    for (int step = 1; step <= kSteps; ++step) {
      const std::int64_t all = kEach * communicator_->size();
      const model::SyntheticBatch batch =
          model::synthetic_batch(model.input, all, 100 + static_cast<std::uint64_t>(step));
      const std::int64_t begin = kEach * communicator_->rank();
      walker.train_step({.step = step, .learning_rate = 1e-3, .global_terms = all * model.terms_per_sample()},
                        batch.input.narrow(0, begin, kEach), batch.target.narrow(0, begin, kEach), {kEach});
    }
    store->synchronize();
    return store->gather_values();
  }
};

/// The largest difference of two values over the largest value.
double difference(const model::Values& a, const model::Values& b) {
  double worst = 0, largest = 0;
  for (std::size_t block = 0; block < a.size(); ++block)
    for (std::size_t i = 0; i < a[block].size(); ++i) {
      worst = std::max(worst, (a[block][i] - b[block][i]).abs().max().item<double>());
      largest = std::max(largest, b[block][i].abs().max().item<double>());
    }
  return worst / largest;
}

constexpr std::int64_t kBucket = 256 << 10;
constexpr comm::SendSizes kOdd{.segment_bytes = 64 << 10, .sends_in_flight = 2}, kTiny{3000, 3};

TEST_P(SizesInFlight, OfSegmentsAndSendsChangeNoBitOfTheParameters) {
  const model::Values usual = trained({}, kBucket, Precision::fp32);
  for (const comm::SendSizes& sizes : {kOdd, kTiny})
    EXPECT_EQ(difference(trained(sizes, kBucket, Precision::fp32), usual), 0) << sizes.segment_bytes;
}

// A bucket's owner adds the others' gradients in the order of their distance from it. Other buckets give an element
// another owner: the same summands in another order, which is equal bits for two of them and rounding for more.
TEST_P(SizesInFlight, OfBucketsChangeTheParametersByTheOrderOfASumOnly) {
  const model::Values usual = trained({}, kBucket, Precision::fp64);
  for (const std::int64_t bucket : {std::int64_t{0}, std::int64_t{32} << 10, std::int64_t{1} << 20}) {
    const double differs = difference(trained(kOdd, bucket, Precision::fp64), usual);
    if (communicator_->size() <= 2) {
      EXPECT_EQ(differs, 0) << bucket;
    } else {
      EXPECT_LT(differs, 1e-9) << bucket;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, SizesInFlight, testing::Values(Mode::ddp, Mode::fsdp, Mode::lsdp),
                         [](const auto& instance) { return to_text(instance.param); });

}  // namespace
}  // namespace lshdp::parallel
