// Which ranks a run would be faster without: those with nothing to do, with slow links, with slow processors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/plan/describe.h"
#include "lshdp/plan/leave_out.h"
#include "plan/profiles.h"

namespace lshdp::plan {
namespace {

using test::linear_rank;
using test::make_profile;
using test::on_ring;
using test::ring_seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Solution solution_of(const Profile& profile, const SolverOptions& options) {
  Solution solution = solve(profile, options);
  solution.plan.leave_out = best_left_out(profile, solution.plan, options);
  return solution;
}

Plan solved(const Profile& profile, const SolverOptions& options) { return solution_of(profile, options).plan; }

RankProfile with_link(RankProfile rank, double bytes_per_second) {
  rank.link_bytes_per_second = bytes_per_second;
  return rank;
}

TEST(LeaveOut, NamesARankThatGetsNothing) {
  // 30 ms of computing each; the wire's 155 ms over three ranks are 115 ms over two.
  const RankProfile fast = linear_rank(64, 0, 1e-3);
  const Profile profile = on_ring({fast, linear_rank(64, 0, 1), fast}, 11'300'000);
  const Solution solution = solution_of(profile, {.total = 60});
  const Plan& plan = solution.plan;
  EXPECT_EQ(plan.ranks[1].batch, 0);
  EXPECT_NEAR(plan.predicted.step_seconds, ring_seconds(3, 11.3e6), 1e-6);
  ASSERT_TRUE(plan.leave_out.has_value());
  EXPECT_THAT(plan.leave_out->ranks, ElementsAre(1));
  EXPECT_NEAR(plan.leave_out->step_seconds, ring_seconds(2, 11.3e6), 1e-6);
  EXPECT_THAT(describe_leave_out(plan), HasSubstr("Rank 1 (node) gets no samples: left out of the run altogether, it "
                                                  "would make the step 115 ms, 1.34 times as fast."));
  EXPECT_THAT(describe(profile, solution), HasSubstr(describe_leave_out(plan) + '\n'));
}

TEST(LeaveOut, ToldOfARankWithNothingToDoEvenWithoutGain) {
  const Plan plan = solved(make_profile({linear_rank(64, 0, 1e-3), linear_rank(64, 0, 1)}), {.total = 32});
  ASSERT_TRUE(plan.leave_out.has_value());
  EXPECT_THAT(describe_leave_out(plan), HasSubstr("32 ms, which is no gain."));
}

TEST(LeaveOut, NamesASlowLinkThoughItsRankComputesAsFastAsOthers) {
  const RankProfile rank = with_link(linear_rank(64, 0, 1e-3), 1e8);
  Profile profile = on_ring({rank, rank, with_link(rank, 1e7), rank}, 1'000'000);
  for (NetworkPoint& point : profile.network.curve) point.seconds *= 10;  // the slow link is everyone's
  const Plan plan = solved(profile, {.total = 60});
  EXPECT_GT(plan.ranks[2].batch, 0);
  ASSERT_TRUE(plan.leave_out.has_value());
  EXPECT_THAT(plan.leave_out->ranks, ElementsAre(2));
  EXPECT_LT(plan.leave_out->step_seconds, plan.predicted.step_seconds / 2);
  EXPECT_THAT(describe_leave_out(plan), HasSubstr("Rank 2 (node) takes longer than it saves"));
}

TEST(LeaveOut, NamesRanksTooSlowForTheirTransfers) {
  // Three ranks: 155 ms of wire. The fast one alone computes its 32 samples in 32 ms, with no wire at all.
  const RankProfile slow = linear_rank(64, 0, 8e-3);
  const Plan plan = solved(on_ring({slow, linear_rank(64, 0, 1e-3), slow}, 11'300'000), {.total = 32});
  EXPECT_GT(plan.ranks[0].batch, 0);
  ASSERT_TRUE(plan.leave_out.has_value());
  EXPECT_THAT(plan.leave_out->ranks, ElementsAre(0, 2));
  EXPECT_NEAR(plan.leave_out->step_seconds, 32e-3, 1e-9);
  EXPECT_THAT(describe_leave_out(plan), HasSubstr("Ranks 0, 2 (node, node) take longer than they save"));
}

TEST(LeaveOut, CountsSamplesASecondWhereTheTotalIsFree) {
  const RankProfile rank = with_link(linear_rank(64, 0, 1e-3), 1e8);
  Profile profile = on_ring({rank, rank, with_link(rank, 1e7), rank}, 1'000'000);
  for (NetworkPoint& point : profile.network.curve) point.seconds *= 10;
  const Plan plan = solved(profile, {});
  ASSERT_TRUE(plan.leave_out.has_value());
  EXPECT_THAT(plan.leave_out->ranks, ElementsAre(2));
  EXPECT_GT(plan.leave_out->samples_per_second, plan.predicted.samples_per_second);
}

TEST(LeaveOut, IsNotSpokenOfWhereEachRankIsWorthHaving) {
  const RankProfile rank = linear_rank(64, 0, 1e-3);
  const Profile profile = make_profile({rank, rank});
  const Solution solution = solution_of(profile, {.total = 60});
  EXPECT_FALSE(solution.plan.leave_out.has_value());
  EXPECT_THAT(describe(profile, solution), Not(HasSubstr("left out")));
  EXPECT_THAT(describe(profile, solution), Not(HasSubstr("no samples")));
  EXPECT_FALSE(solved(on_ring({rank, linear_rank(64, 0, 3e-3)}, 100'000), {.total = 64}).leave_out.has_value());
}

TEST(LeaveOut, LooksAtNoRunThatTheOthersCannotHold) {
  // Without the slow rank the other would need more than its one micro-batch.
  const Profile profile = on_ring({linear_rank(16, 0, 1e-3), linear_rank(64, 0, 8e-3)}, 11'300'000);
  EXPECT_FALSE(solved(profile, {.total = 32, .max_accumulation = 1}).leave_out.has_value());
  EXPECT_TRUE(solved(profile, {.total = 32}).leave_out.has_value());
}

TEST(LeaveOut, IsKeptInBatchesJson) {
  const RankProfile rank = linear_rank(64, 0, 1e-3);
  Plan plan = solve(make_profile({rank, rank}), {.total = 60}).plan;
  EXPECT_TRUE(to_json(plan)["leave_out"].is_null());
  plan.leave_out = LeaveOut{{1}, 0.5, 120};
  const Plan read = plan_from_json(to_json(plan), "b.json");
  ASSERT_TRUE(read.leave_out.has_value());
  EXPECT_THAT(read.leave_out->ranks, ElementsAre(1));
  EXPECT_EQ(read.leave_out->step_seconds, 0.5);
  EXPECT_EQ(read.leave_out->samples_per_second, 120);
  nlohmann::json wrong = to_json(plan);
  wrong["leave_out"]["ranks"] = {2};
  EXPECT_THROW(plan_from_json(wrong, "b.json"), UsageError);
}

}  // namespace
}  // namespace lshdp::plan
