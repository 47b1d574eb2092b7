// Layouts: what is written is read back, each bad input names its key, and questions about them are answered.
#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/json.h"
#include "lshdp/plan/layout.h"
#include "support/temporary_directory.h"

namespace lshdp::plan {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

/// Rank 3 alone beside ranks 0 and 2 in a row, in which rank 0 has both ends; rank 1 is left out.
Layout example_layout() {
  Layout layout{.model = "gpt2", .strategy = Strategy{.recompute = true}, .blocks = 26};
  layout.replicas = {
      {40, {20, 20}, {{.rank = 3, .start = 0, .end = 26, .in_flight = 2}}},
      {24,
       {8, 8, 8},
       {{.rank = 0, .start = 0, .end = 3, .predicted = StageTime{0.1, 0.2, 0.05}, .predicted_bytes = 1 << 20},
        {.rank = 2, .start = 3, .end = 25, .predicted = StageTime{0.15, 0.3, 0.05}},
        {.rank = 0, .start = 25, .end = 26, .in_flight = 1}}}};
  layout.predicted = {1.5, 42, {1, 0, 1.25, 1.5}, 0.5, 0.1};
  return layout;
}

Json minimal() {
  return {{"version", 1}, {"replicas", {{{"batch", 4}, {"stages", {{{"rank", 1}, {"start", 0}, {"end", 6}}}}}}}};
}

/// The message that `act` ends with; "accepted" if it ends without one.
std::string refusal(const std::function<void()>& act) {
  try {
    act();
    return "accepted";
  } catch (const UsageError& error) {
    return error.what();
  }
}

std::string refusal(const Json& json) {
  return refusal([&] { layout_from_json(json, "l.json"); });
}

/// The refusal of the example with the value at `pointer` replaced.
std::string refusal(const char* pointer, const Json& value) {
  Json json = to_json(example_layout());
  json[Json::json_pointer(pointer)] = value;
  return refusal(json);
}

TEST(LayoutFile, IsReadAsItWasWritten) {
  const test::TemporaryDirectory directory;
  const Layout layout = example_layout();
  write_layout(directory.path() / "layout.json", layout);
  const Layout read = read_layout(directory.path() / "layout.json");
  EXPECT_EQ(read.model, "gpt2");
  EXPECT_EQ(read.strategy, layout.strategy);
  EXPECT_EQ(read.blocks, 26);
  EXPECT_EQ(read.schedule, PipelineSchedule::one_f_one_b);
  EXPECT_EQ(read.replicas, layout.replicas);
  EXPECT_EQ(read.predicted.compute_seconds, layout.predicted.compute_seconds);
  EXPECT_EQ(to_json(read), to_json(layout));
}

TEST(LayoutFile, MayBeWrittenByHandWithLittle) {
  const Layout layout = layout_from_json(minimal(), "l.json");
  EXPECT_EQ(layout.model, "");
  EXPECT_FALSE(layout.strategy);
  EXPECT_EQ(layout.blocks, 6);
  EXPECT_EQ(layout.schedule, PipelineSchedule::one_f_one_b);
  EXPECT_THAT(layout.replicas.at(0).micro_batches, ElementsAre(4));
  EXPECT_EQ(layout.predicted.step_seconds, 0);
}

TEST(LayoutFile, TakesTheLargestEndForTheModels) {
  Json json = to_json(example_layout());
  json.erase("blocks");
  EXPECT_EQ(layout_from_json(json, "l.json").blocks, 26);
  json["replicas"][0]["stages"][0]["end"] = 20;
  EXPECT_THAT(refusal(json), HasSubstr("replicas[0]: stages[0]: \"end\" is 20"));
}

TEST(LayoutFile, IsToldFromOtherFiles) {
  const test::TemporaryDirectory directory;
  write_json(directory.path() / "batches.json", {{"version", 1}, {"batches", {4, 4}}});
  EXPECT_THAT(refusal([&] { read_layout(directory.path() / "batches.json"); }),
              HasSubstr("this is a plan, not a layout"));
}

TEST(LayoutFile, RefusesWhatIsNoLayout) {
  EXPECT_THAT(refusal(Json::array()), HasSubstr("l.json"));
  EXPECT_THAT(refusal(Json{{"version", 1}}), "l.json: \"replicas\" is missing");
  EXPECT_THAT(refusal("/version", 2), HasSubstr("version"));
  EXPECT_EQ(refusal("/replicas", Json::array()), "l.json: \"replicas\" must have at least one entry");
  EXPECT_EQ(refusal("/replicas/0/stages", Json::array()),
            "l.json: replicas[0]: \"stages\" must have at least one entry");
  EXPECT_EQ(refusal("/replicas/0", 4), "l.json: replicas[0]: must be an object");
}

TEST(LayoutFile, RefusesUnknownKeys) {
  EXPECT_EQ(refusal("/scedule", "gpipe"), "l.json: \"scedule\" is not a key of a layout; did you mean schedule?");
  EXPECT_EQ(refusal("/replicas/1/micro_batch", 8),
            "l.json: replicas[1]: \"micro_batch\" is not a key of a layout; did you mean micro_batches?");
  EXPECT_THAT(refusal("/replicas/1/stages/2/inflight", 8),
              StartsWith("l.json: replicas[1]: stages[2]: \"inflight\" is not a key of a layout"));
  EXPECT_THAT(refusal("/replicas/1/stages/0/predicted/seconds", 8),
              StartsWith("l.json: replicas[1]: stages[0]: predicted: \"seconds\" is not a key"));
}

TEST(LayoutFile, RefusesMissingAndDoubleBlocks) {
  EXPECT_EQ(refusal("/replicas/1/stages/1/start", 5),
            "l.json: replicas[1]: stages[1]: \"start\" is 5, but must be 3, the end of the stage before (0 of the "
            "first): blocks 3..4 are missing");
  EXPECT_THAT(refusal("/replicas/1/stages/1/start", 2), HasSubstr("block 2 is there twice"));
  EXPECT_THAT(refusal("/replicas/0/stages/0/start", 1), HasSubstr("block 0 is missing"));
  EXPECT_EQ(refusal("/replicas/1/stages/0/end", 0),
            "l.json: replicas[1]: stages[0]: \"end\" must be above start, which is 0: a stage has a block at least, "
            "and ends before block \"end\"");
  EXPECT_EQ(refusal("/replicas/1/stages/2/end", 27),
            "l.json: replicas[1]: stages[2]: \"end\" is 27, but the last stage must end with the model, which has 26 "
            "blocks");
  EXPECT_THAT(refusal("/blocks", 27), HasSubstr("\"end\" is 26"));
  EXPECT_THAT(refusal("/replicas/1/stages/0/start", -1), HasSubstr("\"start\" must be at least 0"));
}

TEST(LayoutFile, RefusesARankTwice) {
  EXPECT_EQ(refusal("/replicas/1/stages/1/rank", 3),
            "l.json: replicas[1]: stages[1]: \"rank\" is 3, which has stages[0] of replicas[0] already; a rank has one "
            "stage, or the first and the last of one replica with another rank's between them");
  EXPECT_THAT(refusal("/replicas/1/stages/1/rank", 0), HasSubstr("\"rank\" is 0, which has stages[0] of replicas[1]"));
  EXPECT_THAT(refusal("/replicas/1/stages/2/rank", 2), HasSubstr("\"rank\" is 2, which has stages[1] of replicas[1]"));
  Json two = minimal();
  two["replicas"][0]["stages"] = {{{"rank", 1}, {"start", 0}, {"end", 2}}, {{"rank", 1}, {"start", 2}, {"end", 6}}};
  EXPECT_THAT(refusal(two), HasSubstr("with another rank's between them"));
  EXPECT_THAT(refusal("/replicas/0/stages/0/rank", -1), HasSubstr("\"rank\" must be at least 0"));
  EXPECT_THAT(refusal("/replicas/0/stages/0/rank", 1LL << 31), HasSubstr("\"rank\" must be at most"));
}

TEST(LayoutFile, RefusesMicroBatchesThatAreNotTheBatch) {
  EXPECT_EQ(refusal("/replicas/0/micro_batches", {20, 19}),
            "l.json: replicas[0]: \"micro_batches\" add up to 39, but batch is 40");
  EXPECT_THAT(refusal("/replicas/0/micro_batches", {40, 0}), HasSubstr("must hold whole numbers from 1"));
  EXPECT_THAT(refusal("/replicas/0/micro_batches", {41, -1}), HasSubstr("must hold whole numbers from 1"));
  EXPECT_THAT(refusal("/replicas/0/micro_batches", Json::array()), HasSubstr("add up to 0"));
  EXPECT_THAT(refusal("/replicas/0/batch", 0), HasSubstr("\"batch\" must be at least 1"));
}

TEST(LayoutFile, RefusesOtherWrongValues) {
  EXPECT_EQ(refusal("/replicas/0/stages/0/in_flight", 0),
            "l.json: replicas[0]: stages[0]: \"in_flight\" must be at least 1, not 0");
  EXPECT_EQ(refusal("/schedule", "zigzag"), "l.json: \"schedule\" must be 1f1b or gpipe, not 'zigzag'");
  EXPECT_THAT(refusal("/replicas/1/stages/0/predicted/forward_seconds", -1), HasSubstr("\"forward_seconds\" must be"));
  EXPECT_THAT(refusal("/replicas/1/stages/0/predicted_bytes", -1), HasSubstr("\"predicted_bytes\" must be"));
  EXPECT_THAT(refusal("/strategy/mode", "dpp"), HasSubstr("l.json: strategy: \"mode\" must be"));
  EXPECT_THAT(refusal("/predicted/compute_seconds", {1, 2}),
              AllOf(HasSubstr("l.json: predicted: \"compute_seconds\" has 2 values"), HasSubstr("has rank 3")));
  EXPECT_THAT(refusal("/predicted/step_seconds", 0), HasSubstr("must be above 0"));
}

TEST(Schedule, IsReadByItsName) {
  for (const auto schedule : {PipelineSchedule::one_f_one_b, PipelineSchedule::gpipe})
    EXPECT_EQ(pipeline_schedule_from_text(to_text(schedule)), schedule);
  EXPECT_EQ(refusal([] { pipeline_schedule_from_text("1F1B"); }),
            "--pipeline-schedule: unknown schedule '1F1B'; use 1f1b or gpipe");
}

TEST(Layout, KnowsWhoHoldsWhat) {
  const Layout layout = example_layout();
  EXPECT_EQ(total_of(layout), 64);
  EXPECT_EQ(replica_of(layout, 3), 0);
  EXPECT_EQ(replica_of(layout, 2), 1);
  EXPECT_EQ(replica_of(layout, 1), std::nullopt);
  EXPECT_THAT(stages_of(layout.replicas[1], 0), ElementsAre(0, 2));
  EXPECT_THAT(stages_of(layout.replicas[1], 2), ElementsAre(1));
  EXPECT_THAT(stages_of(layout.replicas[1], 3), IsEmpty());
  EXPECT_THAT(holders_of(layout, 0), ElementsAre(0, 3));
  EXPECT_THAT(holders_of(layout, 3), ElementsAre(2, 3));
  EXPECT_THAT(holders_of(layout, 25), ElementsAre(0, 3));
  EXPECT_EQ(data_rank_of(layout, 2), 0);
  EXPECT_EQ(data_rank_of(layout, 3), 3);
  EXPECT_EQ(data_rank_of(layout, 1), std::nullopt);
  EXPECT_FALSE(is_data_parallel(layout));
  EXPECT_TRUE(is_data_parallel(layout_from_json(minimal(), "l.json")));
}

TEST(Layout, BoundsMicroBatchesInFlight) {
  Layout layout = example_layout();
  EXPECT_EQ(in_flight_of(layout, 0, 0), 2);  // as stated
  EXPECT_EQ(in_flight_of(layout, 1, 0), 3);
  EXPECT_EQ(in_flight_of(layout, 1, 1), 2);
  EXPECT_EQ(in_flight_of(layout, 1, 2), 1);
  layout.schedule = PipelineSchedule::gpipe;
  EXPECT_EQ(in_flight_of(layout, 1, 0), 3);
  EXPECT_EQ(in_flight_of(layout, 1, 2), 1);  // as stated
  layout.replicas[1].stages[2].in_flight.reset();
  EXPECT_EQ(in_flight_of(layout, 1, 2), 3);
  layout.replicas[1].stages[2].in_flight = 100;
  EXPECT_EQ(in_flight_of(layout, 1, 2), 3);
}

TEST(Layout, FitsItsModelAndRun) {
  const Layout layout = example_layout();
  const LayoutNeeds needs{.model = "gpt2", .blocks = 26, .shared_parameters = {{0, 25}}};
  const auto misfit = [&](const LayoutNeeds& of, std::int64_t ranks) {
    return refusal([&] { require_fits(layout, of, ranks, "l.json"); });
  };
  EXPECT_EQ(misfit(needs, 4), "accepted");
  EXPECT_THAT(misfit({.model = "mlp", .blocks = 26}, 4),
              StartsWith("l.json: is a layout of gpt2, but the model is mlp; "));
  EXPECT_THAT(misfit({.model = "gpt2", .blocks = 12}, 4),
              StartsWith("l.json: is a layout of 26 blocks, but the model has 12"));
  EXPECT_EQ(misfit(needs, 3),
            "l.json: replicas[0] has rank 3, but the run has 3 ranks, from 0; start more ranks, or plan again");
  EXPECT_EQ(misfit({.model = "gpt2", .blocks = 26, .shared_parameters = {{0, 24}}}, 4),
            "l.json: replicas[1]: blocks 0 and 24 share a parameter, but are on ranks 0 and 2; give the first and the "
            "last stage to one rank, with another's between them, or make them one stage");
}

TEST(Layout, WrittenByHandFitsAnyModelOfItsBlocks) {
  EXPECT_EQ(
      refusal([] { require_fits(layout_from_json(minimal(), "l.json"), {.model = "mlp", .blocks = 6}, 2, "l.json"); }),
      "accepted");
}

TEST(Layout, IsAPlanOfBatchesAtFirstRanks) {
  const Plan plan = plan_of(example_layout(), 5);
  EXPECT_THAT(batches_of(plan), ElementsAre(24, 0, 0, 40, 0));
  EXPECT_THAT(plan.ranks[0].micro_batches, ElementsAre(8, 8, 8));
  EXPECT_THAT(plan.ranks[2].micro_batches, IsEmpty());
  EXPECT_EQ(plan.total, 64);
  EXPECT_EQ(plan.model, "gpt2");
  EXPECT_EQ(plan.strategy, example_layout().strategy);
  // It is one that the reader takes.
  EXPECT_EQ(plan_from_json(to_json(plan), "b.json").total, 64);
}

TEST(Layout, IsDescribedReplicaByReplica) {
  Layout layout = example_layout();
  EXPECT_THAT(describe(layout),
              ElementsAre("replica 0: 40 samples as 20+20: rank 3 blocks 0..25",
                          "replica 1: 24 samples as 8+8+8: rank 0 blocks 0..2, rank 2 blocks 3..24, rank 0 block 25"));
  layout.replicas[0].micro_batches.assign(20, 2);
  EXPECT_EQ(describe(layout)[0], "replica 0: 40 samples as 20 x 2: rank 3 blocks 0..25");
}

}  // namespace
}  // namespace lshdp::plan
