// Profiles that contradict themselves are found out, honest ones are left alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/plan/describe.h"
#include "lshdp/plan/disturbance.h"
#include "lshdp/plan/solver.h"
#include "plan/profiles.h"

namespace lshdp::plan {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

/// A rank of `share` of a core whose samples take 10 ms of it, and 2 ms a batch, `factor` times as long by a
/// disturbance.
RankProfile emulated(double share, double factor = 1) {
  RankProfile rank = test::make_rank(16, {});
  rank.speed = share;
  for (const std::int64_t batch : {1, 2, 4, 8, 16})
    rank.curve.push_back({batch, factor * (0.002 + 0.01 * static_cast<double>(batch)) / share});
  return rank;
}

std::vector<std::string> found_in(std::vector<RankProfile> ranks) {
  return contradictions(test::make_profile(std::move(ranks)));
}

TEST(Contradictions, AreNoneWhereTimesFollowTheShares) {
  EXPECT_THAT(found_in({emulated(0.6), emulated(0.6, 1.1), emulated(0.3, 0.95), emulated(0.15, 1.2)}), IsEmpty());
}

TEST(Contradictions, AreEqualRanksThirtyPercentApart) {
  EXPECT_THAT(found_in({emulated(0.6), emulated(0.6, 1.31)}),
              ElementsAre("rank 1 (node, 0.6 of a core) took 1.31 times as long as rank 0 (node, 0.6 of a core)"));
  EXPECT_THAT(found_in({emulated(1, 1.4), emulated(1)}),
              ElementsAre("rank 0 (node) took 1.40 times as long as rank 1 (node)"));
}

TEST(Contradictions, AreRanksOfASmallShareThatAreFasterThanThoseOfALargeOne) {
  const auto found = found_in({emulated(0.6, 2.1), emulated(0.3)});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_THAT(found[0], AllOf(HasSubstr("rank 0 (node, 0.6 of a core) took 2.10 times as long for its share"),
                              HasSubstr("as rank 1 (node, 0.3 of a core)")));
}

TEST(Contradictions, AreSinglePointsThatOtherRanksDoNotKnow) {
  RankProfile bent = emulated(0.5);
  bent.curve[3].seconds *= 1.5;
  EXPECT_THAT(found_in({emulated(0.5), bent, emulated(0.5)}),
              ElementsAre(HasSubstr("1.50 times as long for 8 samples")));
}

TEST(Contradictions, OfHostsAndThreadCountsThatDifferAreNotLookedFor) {
  RankProfile other = emulated(1, 3);
  other.host = "other";
  RankProfile more_threads = emulated(1, 0.3);
  more_threads.threads = 4;
  RankProfile device = emulated(1, 0.01);
  device.device = "cuda:0";
  EXPECT_THAT(found_in({emulated(1), other, more_threads, device}), IsEmpty());
}

TEST(Contradictions, AreRepeatsThatTakeAnotherTime) {
  RankProfile slower = emulated(1), faster = emulated(0.5);
  slower.repeated = 1.6;
  faster.repeated = 0.5;
  EXPECT_THAT(found_in({slower, faster}), ElementsAre(HasSubstr("rank 0 (node) was 1.6 times as slow"),
                                                      HasSubstr("rank 1 (node, 0.5 of a core) was 2.0 times as fast")));
}

TEST(Contradictions, AreLookedForWhereRanksHoldNothingOrOneSample) {
  EXPECT_THAT(found_in({test::make_rank(0, {}), emulated(0.5), test::make_rank(1, {{1, 0.012}})}), IsEmpty());
}

TEST(QuickerOf, TakesTheQuickerCurveOfEachRankAndTheQuickerOfCommonPoints) {
  Profile one = test::make_profile({emulated(0.5, 2), emulated(0.5)});
  Profile other = test::make_profile({emulated(0.5), emulated(0.5)});
  other.ranks[1].curve[2].seconds *= 3;
  other.ranks[0].cores = 0.4;
  other.ranks[1].max_batch = 12;
  const Profile merged = quicker_of(one, other);
  EXPECT_THAT(contradictions(merged), IsEmpty());
  EXPECT_EQ(merged.ranks[0].cores, 0.4) << "what belongs to the curve comes along";
  EXPECT_EQ(merged.ranks[1].max_batch, 12) << "what did not fit once does not fit";
  EXPECT_EQ(merged.ranks[1].curve.back().batch, 8);
  EXPECT_DOUBLE_EQ(merged.ranks[1].curve[2].seconds, emulated(0.5).curve[2].seconds);
}

TEST(Doubts, TellWhichMicroBatchesWereNotTimedAndWhatWasDisturbed) {
  Profile profile =
      test::make_profile({test::make_rank(40, {{1, 0.5}, {2, 0.9}}), test::make_rank(2, {{1, 1}, {2, 2}})});
  profile.ranks[0].max_batch_from = MaxBatchFrom::estimated;
  profile.disturbed = {"rank 1 took longer"};
  const Solution solution = solve(profile, {.total = 12});
  EXPECT_THAT(
      describe_doubts(profile, solution.plan),
      ElementsAre(AllOf(HasSubstr("disturbed: rank 1 took longer"), HasSubstr("measure again")),
                  AllOf(HasSubstr("extrapolated: rank 0 "), HasSubstr("(timed up to 2)"), Not(HasSubstr("rank 1")))));
  EXPECT_THAT(describe(profile, solution), AllOf(HasSubstr("~40"), HasSubstr("timed up to 2")));
}

}  // namespace
}  // namespace lshdp::plan
