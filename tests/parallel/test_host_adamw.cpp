// Tests of the host update against LibTorch's fused AdamW, and of the rounding of its copy.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "optimizer/host_adamw.h"

namespace lshdp::parallel {
namespace {

constexpr std::int64_t kCount = 100'003;  // no multiple of anything, several threads' worth

HostRange random_range(at::ScalarType type) {
  at::manual_seed(7);
  const auto normal = [&] { return at::randn({kCount}, type); };
  return {.gradient = normal().mul_(3),
          .master = normal(),
          .first_moment = normal().mul_(0.1),
          .second_moment = normal().square_().mul_(0.01),
          .copy = {}};
}

HostRange clone(const HostRange& range) {
  return {range.gradient.clone(), range.master.clone(), range.first_moment.clone(), range.second_moment.clone(),
          range.copy.defined() ? range.copy.clone() : at::Tensor()};
}

void reference_step(const HostRange& range, double weight_decay, const AdamW& adamw, const Update& update) {
  const at::Tensor step = at::scalar_tensor(static_cast<double>(update.step), at::kFloat);
  at::_fused_adamw_({range.master}, {range.gradient.to(range.master.scalar_type())}, {range.first_moment},
                    {range.second_moment}, {}, {step}, update.learning_rate, adamw.beta1, adamw.beta2, weight_decay,
                    adamw.epsilon, false, false);
}

/// The largest difference of an element, relative to the element or to 1.
double difference(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  return ((x - y).abs() / y.abs().clamp_min(1)).max().item<double>();
}

void compare_with_fused(at::ScalarType type, double tolerance) {
  for (const AdamW& adamw : {AdamW{}, AdamW{.beta1 = 0.3, .beta2 = 0.95, .epsilon = 1e-6}, AdamW{.beta1 = 0}}) {
    for (const double decay : {0.0, 0.1}) {
      HostRange ours = random_range(type);
      HostRange theirs = clone(ours);
      for (int step = 1; step <= 5; ++step) {
        const Update update{.step = step, .learning_rate = 0.01 * step};
        adamw_on_host(ours, 1, decay, adamw, update);
        reference_step(theirs, decay, adamw, update);
      }
      EXPECT_LT(difference(ours.master, theirs.master), tolerance);
      EXPECT_LT(difference(ours.first_moment, theirs.first_moment), tolerance);
      EXPECT_LT(difference(ours.second_moment, theirs.second_moment), tolerance);
    }
  }
}

TEST(HostAdamW, IsLibTorchsInDoublePrecision) { compare_with_fused(at::kDouble, 1e-12); }

TEST(HostAdamW, IsLibTorchsToAFewRoundingsInSinglePrecision) { compare_with_fused(at::kFloat, 1e-6); }

TEST(HostAdamW, FoldsTheScaleOfTheGradientIn) {
  HostRange scaled = random_range(at::kDouble);
  HostRange divided = clone(scaled);
  divided.gradient.mul_(1.0 / 48);
  adamw_on_host(scaled, 1.0 / 48, 0.01, {}, {.step = 3, .learning_rate = 0.1});
  adamw_on_host(divided, 1, 0.01, {}, {.step = 3, .learning_rate = 0.1});
  EXPECT_TRUE(at::equal(scaled.master, divided.master));
}

TEST(HostAdamW, RoundsTheCopyAsLibTorchDoes) {
  for (const auto type : {at::kBFloat16, at::kHalf, at::kFloat}) {
    HostRange range = random_range(at::kFloat);
    range.copy = at::zeros({kCount}, type);
    // A learning rate of 0 leaves the master weights as they are: ties and values around them reach the copy.
    range.master[0] = 1 + 1.0 / 256;       // between 1 and 1 + 2/256, to even: 1
    range.master[1] = 1 + 3.0 / 256;       // to even: 1 + 4/256
    range.master[2] = -(1 + 1.001 / 256);  // just above the middle
    range.master[3] = 3.4e38;              // rounds to infinity
    range.master[4] = 1e-40;               // subnormal
    range.master[5] = 1 + 1.0 / 2048;      // between two numbers of fp16, to even
    range.master[6] = 3.1e-6;              // subnormal in fp16
    adamw_on_host(range, 1, 0, {}, {.step = 1, .learning_rate = 0});
    EXPECT_TRUE(at::equal(range.copy, range.master.to(type)));
  }
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    HostRange broken = random_range(at::kFloat);
    broken.copy = at::zeros({kCount}, type);
    broken.master[5] = std::numeric_limits<float>::quiet_NaN();
    adamw_on_host(broken, 1, 0, {}, {.step = 1, .learning_rate = 0});
    EXPECT_TRUE(broken.copy[5].isnan().item<bool>());
  }
}

TEST(HostAdamW, TakesGradientsInBf16) {
  HostRange narrow = random_range(at::kFloat);
  narrow.gradient = narrow.gradient.to(at::kBFloat16);
  HostRange wide = clone(narrow);
  wide.gradient = wide.gradient.to(at::kFloat);
  adamw_on_host(narrow, 0.25, 0.01, {}, {.step = 2, .learning_rate = 0.1});
  adamw_on_host(wide, 0.25, 0.01, {}, {.step = 2, .learning_rate = 0.1});
  EXPECT_TRUE(at::equal(narrow.master, wide.master));
}

TEST(HostAdamW, HasTheSameBitsOnAnyNumberOfThreads) {
  HostRange one = random_range(at::kFloat);
  HostRange two = clone(one);
  const Update update{.step = 1, .learning_rate = 0.1};
  at::set_num_threads(2);
  adamw_on_host(two, 0.5, 0.01, {}, update);
  at::set_num_threads(1);
  adamw_on_host(one, 0.5, 0.01, {}, update);
  EXPECT_TRUE(at::equal(one.master, two.master));
}

TEST(HostAdamW, RefusesTensorsThatDoNotBelongTogether) {
  HostRange range = random_range(at::kFloat);
  range.first_moment = range.first_moment.to(at::kDouble);
  EXPECT_THROW(adamw_on_host(range, 1, 0, {}, {}), std::invalid_argument);
  range = random_range(at::kFloat);
  range.gradient = range.gradient.narrow(0, 0, 5);
  EXPECT_THROW(adamw_on_host(range, 1, 0, {}, {}), std::invalid_argument);
  range = random_range(at::kDouble);
  range.copy = at::zeros({kCount}, at::kBFloat16);
  EXPECT_THROW(adamw_on_host(range, 1, 0, {}, {}), std::invalid_argument);
}

}  // namespace
}  // namespace lshdp::parallel
