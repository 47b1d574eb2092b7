// Orders of work in a pipeline: complete, possible, within memory, and those of the papers where stages are equal.
#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/plan/stage_schedule.h"

namespace lshdp::plan {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Kind = StageWork::Kind;

/// A replica of `blocks` by stage on ranks 0, 1, .., the last stage on rank 0 if `wraps`, of `micro_batches` samples 1.
Replica make_replica(const std::vector<std::size_t>& blocks, std::size_t micro_batches, bool wraps = false) {
  Replica replica{.batch = static_cast<std::int64_t>(micro_batches)};
  replica.micro_batches.assign(micro_batches, 1);
  std::size_t start = 0;
  for (const std::size_t count : blocks) {
    const auto rank = static_cast<std::int64_t>(replica.stages.size());
    replica.stages.push_back({.rank = rank, .start = start, .end = start + count});
    start += count;
  }
  if (wraps) replica.stages.back().rank = 0;
  return replica;
}

Layout layout_of(const Replica& replica, PipelineSchedule schedule = PipelineSchedule::one_f_one_b) {
  return {
      .model = "", .strategy = {}, .blocks = replica.stages.back().end, .schedule = schedule, .replicas = {replica}};
}

std::vector<std::int64_t> in_flight_of(const Layout& layout) {
  std::vector<std::int64_t> in_flight;
  for (std::size_t stage = 0; stage < layout.replicas[0].stages.size(); ++stage)
    in_flight.push_back(in_flight_of(layout, 0, stage));
  return in_flight;
}

std::vector<RankTimeline> simulate(const Layout& layout) {
  const Replica& replica = layout.replicas[0];
  return simulate(replica, layout.schedule, in_flight_of(layout), stated_costs(replica, replica.micro_batches));
}

/// "F0 F1 B0 B1", with the stage ("F0.2") if the rank has two.
std::string text_of(const std::vector<StageWork>& order, bool with_stage = false) {
  std::vector<std::string> parts;
  for (const StageWork& work : order) {
    parts.push_back(fmt::format("{}{}", work.kind == Kind::forward ? "F" : "B", work.micro_batch));
    if (with_stage) parts.back() += fmt::format(".{}", work.stage);
  }
  return fmt::format("{}", fmt::join(parts, " "));
}

std::string order_of(const Layout& layout, std::int64_t rank, bool with_stage = false) {
  return text_of(work_order(layout, 0, rank, layout.replicas[0].micro_batches), with_stage);
}

double end_of(const std::vector<RankTimeline>& timelines) {
  double end = 0;
  for (const RankTimeline& timeline : timelines) {
    for (const TimedWork& timed : timeline.work) end = std::max(end, timed.end_seconds);
  }
  return end;
}

using Times = std::map<std::pair<std::size_t, std::size_t>, TimedWork>;  // by stage and micro-batch

struct AllTimes {
  Times forward, backward;
};

/// Each work exactly once, by the rank that has its stage, one after the other.
AllTimes collect(const Replica& replica, const std::vector<RankTimeline>& timelines) {
  AllTimes all;
  for (const RankTimeline& timeline : timelines) {
    double free_at = 0;
    for (const TimedWork& timed : timeline.work) {
      EXPECT_EQ(replica.stages[timed.work.stage].rank, timeline.rank);
      EXPECT_GE(timed.begin_seconds, free_at);
      free_at = timed.end_seconds;
      Times& times = timed.work.kind == Kind::forward ? all.forward : all.backward;
      EXPECT_TRUE(times.try_emplace({timed.work.stage, timed.work.micro_batch}, timed).second);
    }
  }
  return all;
}

/// Nothing begins before what it needs has arrived, and the links carry one message at a time.
void expect_causal(const AllTimes& all, const StageCosts& costs) {
  const std::size_t stages = costs.forward_seconds.size(), micro_batches = costs.forward_seconds[0].size();
  for (std::size_t stage = 0; stage < stages; ++stage) {
    double input_link = 0, gradient_link = 0;
    for (std::size_t m = 0; m < micro_batches; ++m) {
      const TimedWork& forward = all.forward.at({stage, m});
      const TimedWork& backward = all.backward.at({stage, m});
      EXPECT_EQ(forward.end_seconds, forward.begin_seconds + costs.forward_seconds[stage][m]);
      EXPECT_EQ(backward.end_seconds, backward.begin_seconds + costs.backward_seconds[stage][m]);
      EXPECT_GE(backward.begin_seconds, forward.end_seconds);
      if (stage > 0) {
        input_link =
            std::max(input_link, all.forward.at({stage - 1, m}).end_seconds) + costs.send_seconds[stage - 1][m];
        EXPECT_GE(forward.begin_seconds, input_link);
      }
      if (stage + 1 < stages) {
        gradient_link =
            std::max(gradient_link, all.backward.at({stage + 1, m}).end_seconds) + costs.send_seconds[stage][m];
        EXPECT_GE(backward.begin_seconds, gradient_link);
      }
    }
  }
}

/// Micro-batches in rising order, and never more of them held than allowed.
void expect_within_memory(const std::vector<RankTimeline>& timelines, const std::vector<std::int64_t>& in_flight) {
  std::vector<std::int64_t> forwards(in_flight.size()), backwards(in_flight.size());
  for (const RankTimeline& timeline : timelines) {
    for (const auto& [work, begin, end] : timeline.work) {
      std::int64_t& next = work.kind == Kind::forward ? forwards[work.stage] : backwards[work.stage];
      EXPECT_EQ(next, static_cast<std::int64_t>(work.micro_batch));
      ++next;
      EXPECT_LE(forwards[work.stage] - backwards[work.stage], in_flight[work.stage]);
    }
  }
}

/// Carries out each rank's order as a run does, in which a rank waits at its next work until the input is there. The
/// works that are done in the end.
std::size_t carry_out(const std::vector<std::vector<StageWork>>& orders, std::size_t stages) {
  std::set<std::tuple<Kind, std::size_t, std::size_t>> done;
  const auto is_ready = [&](const StageWork& work) {
    if (work.kind == Kind::forward)
      return work.stage == 0 || done.contains({Kind::forward, work.stage - 1, work.micro_batch});
    if (work.stage + 1 == stages) return done.contains({Kind::forward, work.stage, work.micro_batch});
    return done.contains({Kind::backward, work.stage + 1, work.micro_batch});
  };
  std::vector<std::size_t> next(orders.size());
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t rank = 0; rank < orders.size(); ++rank) {
      for (; next[rank] < orders[rank].size() && is_ready(orders[rank][next[rank]]); ++next[rank]) {
        const StageWork& work = orders[rank][next[rank]];
        done.insert({work.kind, work.stage, work.micro_batch});
        moved = true;
      }
    }
  }
  return done.size();
}

void expect_sound(const Replica& replica, PipelineSchedule schedule, const std::vector<std::int64_t>& in_flight,
                  const StageCosts& costs) {
  const std::vector<RankTimeline> timelines = simulate(replica, schedule, in_flight, costs);
  const std::size_t works = replica.stages.size() * costs.forward_seconds[0].size();
  const AllTimes all = collect(replica, timelines);
  ASSERT_EQ(all.forward.size(), works);
  ASSERT_EQ(all.backward.size(), works);
  expect_causal(all, costs);
  expect_within_memory(timelines, in_flight);
  std::vector<std::vector<StageWork>> orders;
  for (const RankTimeline& timeline : timelines) {
    orders.emplace_back();
    for (const TimedWork& timed : timeline.work) orders.back().push_back(timed.work);
  }
  EXPECT_EQ(carry_out(orders, replica.stages.size()), 2 * works);
}

void expect_sound(const Layout& layout) {
  const Replica& replica = layout.replicas[0];
  expect_sound(replica, layout.schedule, in_flight_of(layout), stated_costs(replica, replica.micro_batches));
}

TEST(StageSchedule, Is1F1BOfEqualStages) {
  const Layout layout = layout_of(make_replica({1, 1, 1}, 5));
  EXPECT_EQ(order_of(layout, 0), "F0 F1 F2 B0 F3 B1 F4 B2 B3 B4");
  EXPECT_EQ(order_of(layout, 1), "F0 F1 B0 F2 B1 F3 B2 F4 B3 B4");
  EXPECT_EQ(order_of(layout, 2), "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4");
  expect_sound(layout);
}

TEST(StageSchedule, IsGPipeOfEqualStages) {
  const Layout layout = layout_of(make_replica({1, 1, 1}, 3), PipelineSchedule::gpipe);
  for (std::int64_t rank = 0; rank < 3; ++rank) EXPECT_EQ(order_of(layout, rank), "F0 F1 F2 B0 B1 B2");
  expect_sound(layout);
}

TEST(StageSchedule, GPipeWaitsForForwardsThatAreStillToCome) {
  // The last stage could run a backward while the slow first one computes.
  const Layout layout = layout_of(make_replica({9, 1}, 3), PipelineSchedule::gpipe);
  EXPECT_EQ(order_of(layout, 1), "F0 F1 F2 B0 B1 B2");
  expect_sound(layout);
}

TEST(StageSchedule, GPipeNeedsNoMoreMemoryThanAnyStageBeforeAllows) {
  Replica replica = make_replica({1, 1, 1}, 4);
  replica.stages[0].in_flight = 2;
  const Layout layout = layout_of(replica, PipelineSchedule::gpipe);
  EXPECT_EQ(order_of(layout, 2), "F0 F1 B0 F2 B1 F3 B2 B3");
  expect_sound(layout);
}

// (S - 1) / (M + S - 1) of a step of equal stages is idle, in both schedules.
TEST(StageSchedule, HasTheBubbleOfThePapers) {
  for (const auto schedule : {PipelineSchedule::one_f_one_b, PipelineSchedule::gpipe}) {
    for (std::size_t stages = 1; stages <= 8; ++stages) {
      for (std::size_t micro_batches = 1; micro_batches <= 12; ++micro_batches) {
        const Layout layout = layout_of(make_replica(std::vector<std::size_t>(stages, 2), micro_batches), schedule);
        EXPECT_EQ(end_of(simulate(layout)), 6.0 * static_cast<double>(micro_batches + stages - 1));
        expect_sound(layout);
      }
    }
  }
}

TEST(StageSchedule, OfOneStageTrainsOneMicroBatchAtATime) {
  const Layout layout = layout_of(make_replica({4}, 3));
  EXPECT_EQ(order_of(layout, 0), "F0 B0 F1 B1 F2 B2");
}

TEST(StageSchedule, HasFewerMicroBatchesThanStages) {
  const Layout layout = layout_of(make_replica({1, 1, 1, 1}, 2));
  EXPECT_EQ(order_of(layout, 0), "F0 F1 B0 B1");
  EXPECT_EQ(order_of(layout, 3), "F0 B0 F1 B1");
  expect_sound(layout);
}

TEST(StageSchedule, LetsOneRankHaveBothEnds) {
  const Layout layout = layout_of(make_replica({1, 4, 1}, 3, true));
  EXPECT_EQ(order_of(layout, 0, true), "F0.0 F1.0 F2.0 F0.2 B0.2 F1.2 B1.2 B0.0 F2.2 B2.2 B1.0 B2.0");
  EXPECT_EQ(simulate(layout).size(), 2);
  expect_sound(layout);
  expect_sound(layout_of(make_replica({1, 4, 1}, 3, true), PipelineSchedule::gpipe));
}

TEST(StageSchedule, KeepsTheSlowestStageBusy) {
  const std::size_t micro_batches = 20;
  const Layout layout = layout_of(make_replica({1, 6, 2}, micro_batches));
  expect_sound(layout);
  // It waits for the first forward of the stage before it, which has the last backward.
  EXPECT_EQ(end_of(simulate(layout)), 3.0 * (6 * micro_batches + 1));
}

TEST(StageSchedule, SendsBesideComputing) {
  Replica replica = make_replica({1, 1}, 6);
  for (Stage& stage : replica.stages) {
    stage.predicted = StageTime{.forward_seconds = 1, .backward_seconds = 1, .send_seconds = 0.5};
    stage.in_flight = 4;
  }
  expect_sound(layout_of(replica));
  // The first forward, the way there and back, and the last backward are what a stage cannot hide.
  EXPECT_EQ(end_of(simulate(layout_of(replica))), 12 + 2 + 2 * 0.5);
}

TEST(StageSchedule, CarriesOneMessageAtATime) {
  Replica replica = make_replica({1, 1}, 3);
  for (Stage& stage : replica.stages) {
    stage.predicted = StageTime{.forward_seconds = 1, .backward_seconds = 1, .send_seconds = 10};
    stage.in_flight = 3;
  }
  const std::vector<RankTimeline> timelines = simulate(layout_of(replica));
  EXPECT_EQ(collect(replica, timelines).forward.at({1, 2}).begin_seconds, 1 + 3 * 10);
  expect_sound(layout_of(replica));
}

TEST(StageSchedule, TakesRanksInTheOrderOfTheirStages) {
  Replica replica = make_replica({1, 1, 1}, 2);
  replica.stages[0].rank = 7;
  const std::vector<RankTimeline> timelines = simulate(layout_of(replica));
  EXPECT_EQ(timelines[0].rank, 7);
  EXPECT_EQ(timelines[1].rank, 1);
  EXPECT_THAT(work_order(layout_of(replica), 0, 0, replica.micro_batches), IsEmpty());
}

TEST(StageSchedule, OfNoMicroBatchIsEmpty) {
  EXPECT_THAT(work_order(layout_of(make_replica({1, 1}, 2)), 0, 0, {}), IsEmpty());
}

TEST(StatedCosts, AreInProportionToSamples) {
  Replica replica = make_replica({1, 2}, 2);
  replica.batch = 12;
  replica.micro_batches = {8, 4};
  replica.stages[0].predicted = StageTime{.forward_seconds = 1, .backward_seconds = 2, .send_seconds = 0.5};
  // One stage without a prediction, and none counts.
  EXPECT_THAT(stated_costs(replica, {8, 4}).forward_seconds, ElementsAre(ElementsAre(1, 0.5), ElementsAre(2, 1)));
  EXPECT_THAT(stated_costs(replica, {8, 4}).send_seconds, ElementsAre(ElementsAre(0, 0), ElementsAre(0, 0)));
  replica.stages[1].predicted = StageTime{.forward_seconds = 3, .backward_seconds = 4, .send_seconds = 7};
  const StageCosts costs = stated_costs(replica, {8, 2});
  EXPECT_THAT(costs.forward_seconds, ElementsAre(ElementsAre(1, 0.25), ElementsAre(3, 0.75)));
  EXPECT_THAT(costs.backward_seconds, ElementsAre(ElementsAre(2, 0.5), ElementsAre(4, 1)));
  EXPECT_THAT(costs.send_seconds, ElementsAre(ElementsAre(0.5, 0.125), ElementsAre(0, 0)));
}

/// Times with many ties, zeros among them.
std::vector<std::vector<double>> random_times(std::mt19937& random, std::size_t stages, std::size_t micro_batches,
                                              int largest) {
  std::vector<std::vector<double>> times(stages, std::vector<double>(micro_batches));
  for (auto& stage : times) {
    const double of_stage = static_cast<double>(random() % static_cast<unsigned>(largest + 1));
    for (double& time : stage) time = random() % 4 == 0 ? static_cast<double>(random() % 100) / 7 : of_stage;
  }
  return times;
}

TEST(StageSchedule, OfAnyShapeIsSoundAndTheSameAgain) {
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    const std::size_t stages = 1 + random() % 7, micro_batches = 1 + random() % 9;
    const bool wraps = stages > 2 && random() % 2 == 0;
    const Replica replica = make_replica(std::vector<std::size_t>(stages, 1), micro_batches, wraps);
    const auto schedule = random() % 3 == 0 ? PipelineSchedule::gpipe : PipelineSchedule::one_f_one_b;
    StageCosts costs{random_times(random, stages, micro_batches, 5), random_times(random, stages, micro_batches, 9),
                     random_times(random, stages, micro_batches, 3)};
    costs.send_seconds.back().assign(micro_batches, 0);
    std::vector<std::int64_t> in_flight;
    for (std::size_t stage = 0; stage < stages; ++stage)
      in_flight.push_back(1 + static_cast<std::int64_t>(random() % micro_batches));
    SCOPED_TRACE(fmt::format("round {}: {} stages, {} micro-batches, in flight {}, {}, wraps {}", round, stages,
                             micro_batches, fmt::join(in_flight, " "), to_text(schedule), wraps));
    expect_sound(replica, schedule, in_flight, costs);
    const auto once = simulate(replica, schedule, in_flight, costs),
               again = simulate(replica, schedule, in_flight, costs);
    for (std::size_t rank = 0; rank < once.size(); ++rank) {
      ASSERT_TRUE(std::ranges::equal(once[rank].work, again[rank].work, {}, &TimedWork::work, &TimedWork::work));
    }
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace lshdp::plan
