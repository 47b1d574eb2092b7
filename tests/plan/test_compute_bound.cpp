// The total from which on computing decides the step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/plan/compute_bound.h"
#include "profiles.h"

namespace lshdp::plan {
namespace {

/// Two ranks of 10 ms a sample; the wire needs 1 s.
Profile profile_of(std::int64_t max_batch) {
  return test::with_network(
      test::make_profile({test::linear_rank(max_batch, 0, 0.01), test::linear_rank(max_batch, 0, 0.01)}), 1e6,
      1'000'000);
}

TEST(ComputeBound, IsWhereComputingTakesAsLongAsTheWire) {
  const Profile profile = profile_of(1000);
  const auto bound = compute_bound_total(profile, solve(profile, {.total = 32}).plan, {});
  ASSERT_TRUE(bound);
  // 0.95 of a step of 1 s are 190 samples.
  EXPECT_GE(bound->total, 190);
  EXPECT_LE(bound->total, 200);
  EXPECT_FALSE(bound->accumulates);
  EXPECT_NEAR(bound->step_seconds, 1, 1e-6);
  EXPECT_THAT(describe(*bound), testing::HasSubstr("computing decides the step (1 s"));
}

TEST(ComputeBound, CountsWhatAccumulationLeavesExposed) {
  // Micro-batches of 0.5 s hide half of the wire: 0.5 s stay, 5 % of a step of 10 s.
  const Profile profile = profile_of(50);
  const auto bound = compute_bound_total(profile, solve(profile, {.total = 32}).plan, {});
  ASSERT_TRUE(bound);
  EXPECT_TRUE(bound->accumulates);
  EXPECT_GE(bound->total, 1900);
  EXPECT_LE(bound->total, 2000);
}

TEST(ComputeBound, SaysNothingWhereComputingDecidesAlreadyOrNoTotalIsLargeEnough) {
  const Profile profile = profile_of(1000);
  EXPECT_FALSE(compute_bound_total(profile, solve(profile, {.total = 400}).plan, {}));
  const SolverOptions once{.max_accumulation = 1};
  const Profile small = profile_of(50);
  EXPECT_FALSE(compute_bound_total(small, solve(small, {.total = 32}).plan, once));
}

}  // namespace
}  // namespace lshdp::plan
