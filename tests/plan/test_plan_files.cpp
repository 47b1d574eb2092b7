// profile.json and batches.json: what is written is read back, and each bad input names its key.
#include <functional>
#include <limits>
#include <string>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/json.h"
#include "lshdp/plan/plan.h"
#include "lshdp/plan/profile.h"
#include "plan/profiles.h"
#include "support/temporary_directory.h"

namespace lshdp::plan {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Profile example_profile() {
  Profile profile = test::make_profile({test::make_rank(16, {{1, 0.010}, {4, 0.025}, {16, 0.081}}),
                                        test::make_rank(4, {{1, 0.05}, {3, 0.11}}), test::make_rank(0, {})});
  profile.parameter_count = 567'434;
  profile.gradient_bytes = 2'269'736;
  profile.parameter_bytes = 2'269'736;
  profile.exposed_bytes = 1'607'680;
  profile.network = {5e-5, 1.2e8, 1e-9, 1.5, {{4096, 1e-3}, {65536, 2.5e-3}}, {{8192, 4e-4}, {32768, 6e-4}}};
  profile.ranks[1].speed = 0.35;
  profile.ranks[1].cores = 0.34;
  profile.ranks[1].update_seconds = 0.002;
  profile.ranks[1].host_link_bytes_per_second = 8e9;
  profile.ranks[1].link_bytes_per_second = 1.18e8;
  profile.ranks[1].update_parameters_per_second = 6e8;
  profile.blocks = {{"patches", 1000, 4096, 2048}, {"head", 500, 512, 40, {0}}};
  profile.ranks[1].block_times = {{1, {0.01, 0.005}, {0.025, 0.01}}, {3, {0.02, 0.01}, {0.06, 0.02}}};
  profile.ranks[1].host = "n\u00f6de \"2\"";
  return profile;
}

Plan example_plan() {
  Plan plan;
  plan.model = "vit_b_16";
  plan.strategy = {.mode = Mode::fsdp, .offload = true, .precision = Precision::bf16, .recompute = true};
  plan.total = 20;
  plan.ranks = {{0, "a", 15, {8, 7}}, {1, "b", 0, {}}, {2, "c", 5, {5}}};
  plan.predicted = {0.125, 160, {0.12, 0.001, 0.1}, 0.03, 0.005};
  plan.equal_split_step_seconds = 0.25;
  plan.transfer = {.segment_bytes = 65536, .sends_in_flight = 2, .bucket_bytes = 0};
  return plan;
}

/// The message that reading `json` as `Read` ends with; "accepted" if it is read.
std::string refusal(const std::function<void(const Json&)>& read, const Json& json) {
  try {
    read(json);
    return "accepted";
  } catch (const UsageError& error) {
    return error.what();
  }
}

std::string profile_refusal(const Json& json) {
  return refusal([](const Json& value) { profile_from_json(value, "p.json"); }, json);
}

std::string plan_refusal(const Json& json) {
  return refusal([](const Json& value) { plan_from_json(value, "b.json"); }, json);
}

/// The refusal of the example with the value at `pointer` replaced.
std::string profile_refusal(const char* pointer, const Json& value) {
  Json json = to_json(example_profile());
  json[Json::json_pointer(pointer)] = value;
  return profile_refusal(json);
}

std::string plan_refusal(const char* pointer, const Json& value) {
  Json json = to_json(example_plan());
  json[Json::json_pointer(pointer)] = value;
  return plan_refusal(json);
}

TEST(Plan, TrainsTheLargestMicroBatchLastAndTheNextLargestFirst) {
  EXPECT_EQ(in_training_order({16, 8, 2}), (std::vector<std::int64_t>{8, 2, 16}));
  EXPECT_EQ(in_training_order({16, 2}), (std::vector<std::int64_t>{2, 16}));
  EXPECT_EQ(in_training_order({5}), (std::vector<std::int64_t>{5}));
  EXPECT_TRUE(in_training_order({}).empty());
}

TEST(Plan, MaySayItsModeAlone) {
  const Plan plan = plan_from_json(Json::parse(R"({"version":1,"mode":"fsdp","batches":[4]})"), "b.json");
  EXPECT_FALSE(plan.strategy.has_value());
  EXPECT_THAT(plan_refusal(Json::parse(R"({"version":1,"mode":"zero","batches":[4]})")), HasSubstr("\"mode\""));
}

TEST(Plan, FillsFewerMicroBatchesWithFewerSamples) {
  const RankPlan rank{0, "a", 26, {8, 2, 16}};
  EXPECT_EQ(micro_batches_of(rank, 26), (std::vector<std::int64_t>{8, 2, 16}));
  EXPECT_EQ(micro_batches_of(rank, 12), (std::vector<std::int64_t>{8, 2, 2}));
  EXPECT_EQ(micro_batches_of(rank, 5), (std::vector<std::int64_t>{5}));
  EXPECT_TRUE(micro_batches_of(rank, 0).empty());
}

TEST(ProfileFile, IsReadBackAsItWasWritten) {
  const lshdp::test::TemporaryDirectory folder;
  const Profile written = example_profile();
  write_profile(folder / "profile.json", written);
  const Profile read = read_profile(folder / "profile.json");
  EXPECT_EQ(to_json(read), to_json(written));
  EXPECT_EQ(read.ranks[1].host, written.ranks[1].host);
  EXPECT_EQ(read.ranks[1].speed, 0.35);
  EXPECT_EQ(read.ranks[1].cores, 0.34);
  EXPECT_EQ(read.ranks[1].link_bytes_per_second, 1.18e8);
  EXPECT_EQ(read.ranks[0].curve[2].batch, 16);
  EXPECT_EQ(read.ranks[0].curve[2].seconds, 0.081);
  EXPECT_EQ(read.network.curve[1].bytes, 65536);
  EXPECT_EQ(read.network.cpu_seconds_per_byte, 1e-9);
  EXPECT_EQ(read.exposed_bytes, 1'607'680);
  EXPECT_THAT(read.data_shape, ElementsAre(1, 28, 28));
}

TEST(ProfileFile, IsRefusedWhereAnyKeyIsMissing) {
  const Json whole = to_json(example_profile());
  for (const auto& [key, value] : whole.items()) {
    Json json = whole;
    json.erase(key);
    if (key == "offload" || key == "wire") continue;  // profiles of before there was such a choice have none
    EXPECT_THAT(profile_refusal(json), AllOf(HasSubstr("p.json"), HasSubstr('"' + key + '"'), HasSubstr("is missing")));
  }
}

TEST(ProfileFile, IsRefusedWhereAnyKeyOfARankIsMissing) {
  const Json whole = to_json(example_profile());
  for (const auto& [key, value] : whole["ranks"][1].items()) {
    Json json = whole;
    json["ranks"][1].erase(key);
    if (key == "link_bytes_per_second") {  // profiles of before links were measured
      EXPECT_EQ(profile_from_json(json, "p.json").ranks[1].link_bytes_per_second, 0);
      continue;
    }
    EXPECT_THAT(profile_refusal(json), AllOf(HasSubstr("ranks[1]"), HasSubstr('"' + key + "\" is missing")));
  }
}

TEST(ProfileFile, OfBeforeMessagesWereMeasuredIsRead) {
  Json json = to_json(example_profile());
  EXPECT_EQ(profile_from_json(json, "p.json").network.messages[1].bytes, 32768);
  json["network"].erase("messages");
  EXPECT_THAT(profile_from_json(json, "p.json").network.messages, IsEmpty());
}

TEST(ProfileFile, IsRefusedWithAnotherVersion) {
  EXPECT_THAT(profile_refusal("/version", 4), HasSubstr("version 4 is not supported"));
  for (const int version : {1, 2})
    EXPECT_THAT(profile_refusal("/version", version),
                AllOf(HasSubstr("p.json"), HasSubstr("version " + std::to_string(version)),
                      HasSubstr("measure again with lshdp profile")));
}

TEST(ProfileFile, MayEndItsCurveBelowTheLargestBatchAndSaysByWhatThatIsKnown) {
  Profile written = example_profile();
  written.ranks[0].max_batch = 40;
  written.ranks[0].max_batch_from = MaxBatchFrom::estimated;
  written.ranks[1].max_batch_from = MaxBatchFrom::limit;
  written.ranks[1].threads = 3;
  written.ranks[1].repeated = 1.25;
  written.disturbed = {"rank 0 took longer"};
  const Profile read = profile_from_json(to_json(written), "p.json");
  EXPECT_EQ(to_json(read), to_json(written));
  EXPECT_EQ(read.ranks[0].max_batch_from, MaxBatchFrom::estimated);
  EXPECT_EQ(read.ranks[1].max_batch_from, MaxBatchFrom::limit);
  EXPECT_EQ(read.ranks[1].threads, 3);
  EXPECT_EQ(read.ranks[1].repeated, 1.25);
  EXPECT_THAT(read.disturbed, ElementsAre("rank 0 took longer"));
  EXPECT_THAT(profile_refusal("/ranks/0/max_batch_from", "time"), HasSubstr("\"max_batch_from\" must be"));
  EXPECT_THAT(profile_refusal("/ranks/0/repeated", 0), HasSubstr("\"repeated\""));
  EXPECT_THAT(profile_refusal("/disturbed", "yes"), HasSubstr("\"disturbed\""));
}

TEST(ProfileFile, HasTheTimesOfTheBlocksThatItLists) {
  const Profile read = profile_from_json(to_json(example_profile()), "p.json");
  EXPECT_EQ(read.blocks[0].name, "patches");
  EXPECT_EQ(read.blocks[0].activation_bytes, 4096);
  EXPECT_EQ(read.blocks[1].output_bytes, 40);
  EXPECT_THAT(read.blocks[1].shares_with, ElementsAre(0));
  EXPECT_THAT(profile_refusal("/blocks/1/shares_with", Json::array({1})), HasSubstr("earlier blocks"));
  EXPECT_EQ(read.ranks[1].block_times[1].batch, 3);
  EXPECT_THAT(read.ranks[1].block_times[1].backward, ElementsAre(0.06, 0.02));
  EXPECT_THAT(profile_refusal("/ranks/1/block_times/0/forward", Json::array({0.1})),
              AllOf(HasSubstr("block_times[0]"), HasSubstr("2 times")));
  EXPECT_THAT(profile_refusal("/ranks/1/block_times/1/backward/0", -1), HasSubstr("\"backward\""));
  EXPECT_THAT(profile_refusal("/ranks/1/block_times/1/batch", 1), HasSubstr("must rise"));
  EXPECT_THAT(profile_refusal("/blocks/0/output_bytes", -1), HasSubstr("blocks[0]"));
}

TEST(ProfileFile, IsRefusedWithoutRanksOrWithRanksOutOfOrder) {
  EXPECT_THAT(profile_refusal("/ranks", Json::array()), HasSubstr("must not be empty"));
  EXPECT_THAT(profile_refusal("/ranks/1/rank", 2), AllOf(HasSubstr("ranks[1]"), HasSubstr("in order from 0")));
  EXPECT_THAT(profile_refusal("/ranks", 3), HasSubstr("must be a list"));
  EXPECT_THAT(profile_refusal("/ranks/0", "fast"), HasSubstr("ranks[0]"));
}

TEST(ProfileFile, IsRefusedWithACurveThatDoesNotRise) {
  EXPECT_THAT(profile_refusal("/ranks/0/curve/1/batch", 1), AllOf(HasSubstr("curve[1]"), HasSubstr("must rise")));
  EXPECT_THAT(profile_refusal("/ranks/0/curve/0/batch", 2), HasSubstr("must be 1"));
  EXPECT_THAT(profile_refusal("/ranks/0/curve/2/batch", 17), HasSubstr("above max_batch 16"));
  EXPECT_THAT(profile_refusal("/ranks/0/curve", Json::array()), HasSubstr("must not be empty"));
  EXPECT_THAT(profile_refusal("/network/curve/1/bytes", 4096), HasSubstr("must rise"));
  EXPECT_THAT(profile_refusal("/network/messages/1/bytes", 8192), AllOf(HasSubstr("messages[1]"), HasSubstr("rise")));
  EXPECT_THAT(profile_refusal("/network/messages/1/seconds", -1), AllOf(HasSubstr("messages[1]"), HasSubstr("0 or")));
}

TEST(ProfileFile, IsRefusedWithFiguresThatCannotBe) {
  EXPECT_THAT(profile_refusal("/ranks/0/curve/0/seconds", -0.1), HasSubstr("\"seconds\""));
  EXPECT_THAT(profile_refusal("/ranks/0/curve/0/seconds", 0), HasSubstr("must be above 0"));
  EXPECT_THAT(profile_refusal("/ranks/0/curve/0/seconds", 1e-308), HasSubstr("must be at least 1e-12, not 1e-308"));
  EXPECT_THAT(profile_refusal("/ranks/0/curve/0/seconds", nullptr), HasSubstr("must be a number"));
  EXPECT_THAT(profile_refusal("/ranks/0/curve/0/seconds", std::numeric_limits<double>::infinity()),
              HasSubstr("must be a finite number"));
  EXPECT_THAT(profile_refusal("/ranks/0/speed", 0), HasSubstr("must be above 0"));
  EXPECT_THAT(profile_refusal("/ranks/0/max_batch", -1), HasSubstr("must be at least 0"));
  EXPECT_THAT(profile_refusal("/ranks/0/max_batch", 2.5), HasSubstr("whole number"));
  EXPECT_THAT(profile_refusal("/ranks/0/update_seconds", 1e300), HasSubstr("must be at most"));
  EXPECT_THAT(profile_refusal("/ranks/0/link_bytes_per_second", -1), HasSubstr("link_bytes_per_second"));
  EXPECT_THAT(profile_refusal("/network/bytes_per_second", -1), HasSubstr("bytes_per_second"));
  EXPECT_THAT(profile_refusal("/gradient_bytes", -1), HasSubstr("gradient_bytes"));
  EXPECT_THAT(profile_refusal("/data_shape", Json::parse("[3, 0]")), HasSubstr("data_shape"));
  EXPECT_THAT(profile_refusal("/gradient_bytes", std::numeric_limits<std::uint64_t>::max()),
              HasSubstr("gradient_bytes"));
}

TEST(ProfileFile, IsRefusedWhereTheWholeIsNoObject) {
  for (const char* text : {"null", "3", "[]", "\"text\"", "[[1]]", "{}"}) {
    EXPECT_THAT(profile_refusal(Json::parse(text)), HasSubstr("p.json")) << text;
    EXPECT_THAT(plan_refusal(Json::parse(text)), HasSubstr("b.json")) << text;
  }
}

TEST(PlanFile, IsReadBackAsItWasWritten) {
  const lshdp::test::TemporaryDirectory folder;
  write_plan(folder / "batches.json", example_plan());
  const Plan read = read_plan(folder / "batches.json");
  EXPECT_EQ(to_json(read), to_json(example_plan()));
  EXPECT_EQ(read.total, 20);
  EXPECT_THAT(read.ranks[0].micro_batches, ElementsAre(8, 7));
  EXPECT_THAT(read.ranks[1].micro_batches, IsEmpty());
  EXPECT_EQ(read.predicted.exposed_seconds, 0.005);
  EXPECT_EQ(read.equal_split_step_seconds, 0.25);
}

TEST(PlanFile, WithoutPredictionIsReadBackWithoutPrediction) {
  Plan plan = example_plan();
  plan.predicted = {};
  plan.equal_split_step_seconds = 0;
  const Plan read = plan_from_json(to_json(plan), "b.json");
  EXPECT_EQ(read.predicted.step_seconds, 0);
  EXPECT_EQ(read.equal_split_step_seconds, 0);
}

TEST(PlanFile, MayBeWrittenByHandAsBatchesAlone) {
  const Plan plan = plan_from_json(Json::parse(R"({"version":1,"batches":[16,0,48]})"), "b.json");
  EXPECT_EQ(plan.total, 64);
  EXPECT_TRUE(plan.model.empty());
  ASSERT_EQ(plan.ranks.size(), 3U);
  EXPECT_EQ(plan.ranks[2].rank, 2);
  EXPECT_THAT(plan.ranks[0].micro_batches, ElementsAre(16));
  EXPECT_THAT(plan.ranks[1].micro_batches, IsEmpty());
}

TEST(PlanFile, ByHandIsRefusedWithBadBatches) {
  EXPECT_THAT(plan_refusal(Json::parse(R"({"version":1,"batches":[16,-1]})")), HasSubstr("\"batches\""));
  EXPECT_THAT(plan_refusal(Json::parse(R"({"version":1,"batches":[16,1.5]})")), HasSubstr("\"batches\""));
  EXPECT_THAT(plan_refusal(Json::parse(R"({"version":1,"batches":[0,0]})")), HasSubstr("all batches are 0"));
  EXPECT_THAT(plan_refusal(Json::parse(R"({"version":1,"batches":[]})")), HasSubstr("all batches are 0"));
  EXPECT_THAT(plan_refusal(Json::parse(R"({"version":1,"batches":[16],"total":17})")), HasSubstr("add up to 16"));
  EXPECT_THAT(plan_refusal(Json::parse(R"({"version":1,"batches":[16],"ranks":[]})")), HasSubstr("exclude each other"));
  EXPECT_THAT(plan_refusal(Json::parse(R"({"version":1,"batches":[18446744073709551615]})")), HasSubstr("batches"));
  EXPECT_THAT(plan_refusal(Json::parse(R"({"batches":[16]})")), HasSubstr("\"version\" is missing"));
}

TEST(PlanFile, IsRefusedWhereFiguresDoNotAddUp) {
  EXPECT_THAT(plan_refusal("/total", 21), AllOf(HasSubstr("is 21"), HasSubstr("add up to 20")));
  EXPECT_THAT(plan_refusal("/ranks/0/batch", 14), AllOf(HasSubstr("ranks[0]"), HasSubstr("add up to 15")));
  EXPECT_THAT(plan_refusal("/ranks/0/micro_batches", Json::parse("[16, -1]")), HasSubstr("micro_batches"));
  EXPECT_THAT(plan_refusal("/ranks/0/micro_batches", Json::parse("[15, 0]")), HasSubstr("micro_batches"));
  EXPECT_THAT(plan_refusal("/ranks/2/batch", -5), HasSubstr("must be at least 0"));
  EXPECT_THAT(plan_refusal("/ranks/2/rank", 1), HasSubstr("in order from 0"));
  EXPECT_THAT(plan_refusal("/version", 3), HasSubstr("version 3"));
  EXPECT_THAT(plan_refusal("/model", 3), HasSubstr("\"model\" must be text"));
}

TEST(PlanFile, HoldsShardWeightsOnlyWhereShardsAreUnequal) {
  EXPECT_FALSE(to_json(example_plan())["ranks"][0].contains("shard_weight"));
  Plan plan = example_plan();
  plan.shard_weights = {1500, 0, 1500};
  const Json json = to_json(plan);
  EXPECT_EQ(json["ranks"][1]["shard_weight"], 0);
  EXPECT_EQ(plan_from_json(json, "b.json").shard_weights, plan.shard_weights);
  EXPECT_THAT(plan_from_json(to_json(example_plan()), "b.json").shard_weights, IsEmpty());
}

TEST(PlanFile, IsRefusedWithShardWeightsThatMakeNoSense) {
  Plan plan = example_plan();
  plan.shard_weights = {1500, 0, 1500};
  const Json whole = to_json(plan);
  for (const char* rank : {"0", "1", "2"}) {
    Json json = whole;
    json["ranks"][std::stoul(rank)].erase("shard_weight");
    EXPECT_THAT(plan_refusal(json), AllOf(HasSubstr("\"shard_weight\""), HasSubstr("for every rank, or for none")));
  }
  const auto with = [&](const char* weights) {
    Json json = whole;
    const Json values = Json::parse(weights);
    for (std::size_t r = 0; r < 3; ++r) json["ranks"][r]["shard_weight"] = values[r];
    return plan_refusal(json);
  };
  EXPECT_THAT(with("[1, -1, 1]"), HasSubstr("must be at least 0"));
  EXPECT_THAT(with("[0, 0, 0]"), HasSubstr("above 0 for one rank"));
  EXPECT_THAT(with("[1, 0.5, 1]"), HasSubstr("whole number"));
}

TEST(PlanFile, HoldsSizesInFlightOnlyWhereTheyWereChosen) {
  const Json json = to_json(example_plan());
  EXPECT_EQ(json["transfer"], (Json{{"segment_bytes", 65536}, {"sends_in_flight", 2}, {"bucket_bytes", 0}}));
  EXPECT_EQ(plan_from_json(json, "b.json").transfer, example_plan().transfer);
  Plan plan = example_plan();
  plan.transfer.reset();
  EXPECT_FALSE(to_json(plan).contains("transfer"));
  EXPECT_FALSE(plan_from_json(to_json(plan), "b.json").transfer);
  Json short_form = Json::parse(R"({"version":1,"batches":[16]})");
  short_form["transfer"] = json["transfer"];
  EXPECT_EQ(plan_from_json(short_form, "b.json").transfer, example_plan().transfer);
}

TEST(PlanFile, IsRefusedWithSizesInFlightThatMakeNoSense) {
  EXPECT_THAT(plan_refusal("/transfer", 4), AllOf(HasSubstr("\"transfer\""), HasSubstr("must be an object")));
  for (const auto& [key, low, high] :
       {std::tuple("segment_bytes", 4095, (1 << 30) + 1), std::tuple("sends_in_flight", 0, 1025),
        std::tuple("bucket_bytes", -1, (1 << 30) + 1)}) {
    const std::string pointer = std::string("/transfer/") + key, quoted = std::string("\"") + key + '"';
    EXPECT_THAT(plan_refusal(pointer.c_str(), low),
                AllOf(HasSubstr("transfer"), HasSubstr(quoted), HasSubstr("least")));
    EXPECT_THAT(plan_refusal(pointer.c_str(), high), AllOf(HasSubstr(quoted), HasSubstr("at most")));
    EXPECT_THAT(plan_refusal(pointer.c_str(), 4096.5), AllOf(HasSubstr(quoted), HasSubstr("whole number")));
    Json json = to_json(example_plan());
    json["transfer"].erase(key);
    EXPECT_THAT(plan_refusal(json), AllOf(HasSubstr(quoted), HasSubstr("is missing")));
  }
}

TEST(PlanFile, IsRefusedWithAPredictionThatCannotBe) {
  EXPECT_THAT(plan_refusal("/predicted/compute_seconds", Json::parse("[0.1, 0.2]")), HasSubstr("each of 3 ranks"));
  EXPECT_THAT(plan_refusal("/predicted/compute_seconds", Json::parse("[0.1, 0.2, -1]")), HasSubstr("compute_seconds"));
  EXPECT_THAT(plan_refusal("/predicted/step_seconds", 0), HasSubstr("step_seconds"));
  EXPECT_THAT(plan_refusal("/predicted", "soon"), HasSubstr("must be an object"));
  EXPECT_THAT(plan_refusal("/equal_split", Json::object()), HasSubstr("step_seconds"));
}

TEST(PlanFile, ThatIsTruncatedIsRefusedAtEveryLength) {
  const std::string text = to_json(example_plan()).dump();
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_THROW(plan_from_json(parse_json(text.substr(0, length), "b.json"), "b.json"), UsageError) << length;
  }
}

TEST(PlanFile, IsRefusedWithNumbersThatNoTypeHolds) {
  EXPECT_THROW(parse_json(R"({"version":1,"batches":[1e999]})", "b.json"), UsageError);
  EXPECT_THAT(plan_refusal("/version", 4294967297), HasSubstr("out of range"));
  EXPECT_THAT(plan_refusal("/total", std::numeric_limits<std::uint64_t>::max()), HasSubstr("out of range"));
}

TEST(PlanFromBatches, CutsIntoTheFewestMostEqualMicroBatches) {
  const Plan plan = plan_from_batches({10, 9, 4, 0}, {4, 3, 4, 0});
  EXPECT_EQ(plan.total, 23);
  EXPECT_THAT(plan.ranks[0].micro_batches, ElementsAre(3, 3, 4));
  EXPECT_THAT(plan.ranks[1].micro_batches, ElementsAre(3, 3, 3));
  EXPECT_THAT(plan.ranks[2].micro_batches, ElementsAre(4));
  EXPECT_THAT(plan.ranks[3].micro_batches, IsEmpty());
  EXPECT_THAT(plan_from_batches({100, 7}).ranks[0].micro_batches, ElementsAre(100));
}

TEST(PlanFromBatches, RefusesWhatCannotBeRun) {
  EXPECT_THROW(plan_from_batches({}), UsageError);
  EXPECT_THROW(plan_from_batches({0, 0}), UsageError);
  EXPECT_THROW(plan_from_batches({8, -1}), UsageError);
  EXPECT_THROW(plan_from_batches({8, 8}, {8}), UsageError);
  EXPECT_THROW(plan_from_batches({8, 8}, {8, 0}), UsageError);
  EXPECT_THROW(plan_from_batches({1'000'000'000}, {1}), UsageError);
}

}  // namespace
}  // namespace lshdp::plan
