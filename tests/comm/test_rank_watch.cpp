// Who stands still is named once, who waits or works slowly is not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rank_watch.h"

namespace lshdp::comm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr double kStep = 0.25;
const HeartbeatTimes kTimes{.between_beats = 2, .standstill = 10, .operation_limit = 30};

RankState working(std::int64_t step = 5) { return {.activity = {Doing::forward, 3, step}}; }

RankState waiting_for(int peer, double idle) {
  return {.activity = {Doing::waiting_for_parameters, 0, 6},
          .operation = waiting_operation("reduce-scatter", 10, peer),
          .idle = idle,
          .waits = true};
}

RankState idle_in(Doing doing, double idle) { return {.activity = {doing, -1, 6}, .idle = idle}; }

/// The watch of `rank` of four on hosts a, b, c and d.
class Watch {
 public:
  explicit Watch(int rank, const HeartbeatTimes& times = kTimes)
      : rank_(rank), watch_(rank, {"a", "b", "c", "d"}, times) {}

  /// Seconds pass in which those of `states` say this and the others nothing. Adds up what was found, until the run
  /// ends.
  Findings pass(double seconds, const std::map<int, RankState>& states, const RankState& mine = working()) {
    Findings all;
    for (double now = 0; now < seconds && all.end.empty(); now += kStep) {
      for (const auto& [rank, state] : states)
        if (RankWatch::are_linked(rank_, rank)) watch_.heard(rank, state);
      const Findings found = watch_.look(kStep, mine);
      all.warnings.insert(all.warnings.end(), found.warnings.begin(), found.warnings.end());
      all.recovered.insert(all.recovered.end(), found.recovered.begin(), found.recovered.end());
      all.end = found.end;
    }
    return all;
  }
  RankWatch& operator*() { return watch_; }

 private:
  int rank_;
  RankWatch watch_;
};

std::map<int, RankState> all_work() { return {{0, working()}, {1, working()}, {2, working()}, {3, working()}}; }
std::map<int, RankState> all_but(int rank) {
  std::map<int, RankState> states = all_work();
  states.erase(rank);
  return states;
}

TEST(ARankWatch, SaysNothingWhileAllWork) {
  for (int rank = 0; rank < 4; ++rank) {
    const Findings found = Watch(rank).pass(100, all_work());
    EXPECT_THAT(found.warnings, IsEmpty());
    EXPECT_THAT(found.end, IsEmpty());
  }
}

TEST(ASilentRank, IsNamedOnceInTimeWithItsHostAndWhatItWasAt) {
  Watch watch(0);
  watch.pass(1, all_work());
  const Findings found = watch.pass(10, all_but(2));
  EXPECT_THAT(found.warnings,
              ElementsAre(HasSubstr("nothing has come from rank 2 (c) for 7 s; last known of it: forward "
                                    "of block 3 of step 5; is its process stopped")));
  EXPECT_THAT(watch.pass(10, all_but(2)).warnings, IsEmpty());
  EXPECT_THAT(watch.pass(1, all_work()).recovered, ElementsAre("rank 2 (c) works again"));
}

TEST(ASilentRank, EndsTheRunAfterTheLimit) {
  Watch watch(0);
  watch.pass(1, all_work());
  EXPECT_THAT(watch.pass(29, all_but(2)).end, IsEmpty());
  EXPECT_THAT(watch.pass(2, all_but(2)).end, HasSubstr("rank 2 (c) for 30 s"));
  EXPECT_THAT(Watch(0, {.operation_limit = 0}).pass(10'000, all_but(2)).end, IsEmpty());
}

TEST(ASilentRank, IsNotNamedWhereItHasEndedInOrder) {
  Watch watch(0);
  (*watch).ended(2);
  EXPECT_THAT(watch.pass(100, all_but(2)).warnings, IsEmpty());
}

TEST(RankZero, IsNamedByAllOthersAndRankOneTakesItsPlace) {
  for (int rank = 1; rank < 4; ++rank) {
    const Findings found = Watch(rank).pass(10, all_but(0));
    EXPECT_THAT(found.warnings, ElementsAre(HasSubstr("nothing has come from rank 0 (a)"))) << rank;
  }
  std::map<int, RankState> states = all_but(0);
  states.erase(3);
  EXPECT_THAT(Watch(1).pass(10, states).warnings, ElementsAre(HasSubstr("rank 0 (a)"), HasSubstr("rank 3 (d)")));
}

TEST(RankOne, IsLeftToRankZero) { EXPECT_THAT(Watch(3).pass(100, all_but(1)).warnings, IsEmpty()); }

TEST(ARankThatIsCutOff, SaysThatItHearsNobodyAndEnds) {
  for (const int rank : {0, 3}) {
    const Findings found = Watch(rank).pass(100, {});
    EXPECT_THAT(found.warnings, ElementsAre(HasSubstr("is the network of this host down?")));
    EXPECT_THAT(found.end, HasSubstr("The run ends (--operation-limit)"));
  }
}

TEST(ARankThatWaitsForADisk, IsNamedAmongThoseThatWaitForIt) {
  Watch watch(0);
  std::map<int, RankState> states;
  for (const int rank : {1, 3}) states[rank] = waiting_for(2, 9);
  states[2] = idle_in(Doing::reading_data, 9);
  const Findings found = watch.pass(5, states, waiting_for(2, 9));
  EXPECT_THAT(found.warnings, ElementsAre(HasSubstr("rank 2 (c) has stood still for 7 s in reading data of step 6")));
  for (auto& [rank, state] : states) state.idle = 30;
  EXPECT_THAT(watch.pass(1, states, waiting_for(2, 30)).end, HasSubstr("rank 2 (c) has stood still"));
}

TEST(ARankThatWaitsForADisk, IsNamedByRankZeroItself) {
  std::map<int, RankState> states;
  for (const int rank : {1, 2, 3}) states[rank] = waiting_for(0, 9);
  EXPECT_THAT(Watch(0).pass(5, states, idle_in(Doing::saving, 9)).warnings,
              ElementsAre(HasSubstr("rank 0 (a) has stood still for 7 s in writing the checkpoint of step 6")));
}

TEST(ARankWhoseOtherThreadWaitsForADisk, IsTheOneThatOthersWaitFor) {
  std::map<int, RankState> states;
  for (const int rank : {1, 3}) states[rank] = waiting_for(2, 9);
  states[2] = {.activity = {Doing::waiting_for_parameters, 0, 6, Doing::saving, 5}, .idle = 9, .waits = true};
  EXPECT_THAT(Watch(0).pass(5, states, waiting_for(2, 9)).warnings,
              ElementsAre(HasSubstr("beside writing the checkpoint of step 5")));
}

TEST(ASlowRank, IsNotNamedHoweverLongOthersWait) {
  std::map<int, RankState> states;
  for (const int rank : {1, 3}) states[rank] = waiting_for(2, 1000);
  states[2] = working();
  const Findings found = Watch(0).pass(100, states, waiting_for(2, 1000));
  EXPECT_THAT(found.warnings, IsEmpty());
  EXPECT_THAT(found.end, IsEmpty());
}

TEST(TwoRanksThatDoNotReachEachOther, AreFoundBecauseNoRankGetsOn) {
  std::map<int, RankState> states{{1, waiting_for(2, 9)}, {2, waiting_for(1, 9)}, {3, waiting_for(1, 9)}};
  const Findings found = Watch(0).pass(5, states, waiting_for(2, 9));
  ASSERT_EQ(found.warnings.size(), 1U);
  EXPECT_THAT(found.warnings.front(), HasSubstr("rank 1 (b): waiting for parameters of block 0 of step 6, waiting for "
                                                "rank 2 in reduce-scatter of bucket 5"));
}

TEST(RanksThatWaitForASilentOne, AreNotNamed) {
  Watch watch(0);
  watch.pass(5, {{1, waiting_for(2, 5)}, {3, idle_in(Doing::ending_step, 5)}}, waiting_for(2, 5));
  EXPECT_THAT(watch.pass(5, {{1, waiting_for(2, 9)}, {3, idle_in(Doing::ending_step, 9)}}, waiting_for(2, 9)).warnings,
              ElementsAre(HasSubstr("from rank 2 (c)")));
}

TEST(ARankThatGivesNoAnswer, IsMissing) {
  Watch watch(0);
  watch.pass(1, all_work());
  (*watch).ask();
  watch.pass(1, all_but(3));
  EXPECT_THAT((*watch).missing(), ElementsAre(HasSubstr("rank 3 (d) gives no answer; last known of it: forward")));
}

}  // namespace
}  // namespace lshdp::comm
