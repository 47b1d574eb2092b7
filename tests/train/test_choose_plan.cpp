// When a profile that was measured before holds for the ranks that run now.
#include <gtest/gtest.h>

#include "lshdp/core/json.h"
#include "lshdp/train/choose_plan.h"

namespace lshdp::train {
namespace {

Json setup() {
  return Json::parse(R"({"model":{"type":"mlp"},"mode":"ddp","total":24,"ranks":[
    {"host":"a","device":"cpu","threads":2,"speed":1.0,"memory_bytes":1000},
    {"host":"b","device":"cuda:0","threads":4,"speed":1.0,"memory_bytes":8000}]})");
}

TEST(ProfileOfARun, HoldsForTheSameSetUp) {
  EXPECT_TRUE(is_same_setup(setup(), setup()));
  EXPECT_FALSE(is_same_setup(Json(), setup()));
}

TEST(ProfileOfARun, DoesNotHoldWhereAnythingElseStands) {
  const auto changed = [](const char* at, const Json& value) {
    Json then = setup();
    then[Json::json_pointer(at)] = value;
    return is_same_setup(then, setup());
  };
  EXPECT_FALSE(changed("/ranks", {{"a", 1}, {"b", 2}}));
  EXPECT_FALSE(changed("/ranks/1", "none"));
  EXPECT_FALSE(changed("/ranks/1/memory_bytes", "much"));
}

TEST(ProfileOfARun, HoldsThoughFreeMemoryVaries) {
  Json now = setup();
  now["ranks"][0]["memory_bytes"] = 950;
  EXPECT_TRUE(is_same_setup(setup(), now));
  now["ranks"][1]["memory_bytes"] = 16000;
  EXPECT_TRUE(is_same_setup(setup(), now));
  now["ranks"][0]["memory_bytes"] = 800;
  EXPECT_FALSE(is_same_setup(setup(), now));
}

TEST(ProfileOfARun, DoesNotHoldForOthers) {
  const auto changed = [](const char* key, const Json& value) {
    Json now = setup();
    (now.contains(key) ? now : now["ranks"][1])[key] = value;
    return is_same_setup(setup(), now);
  };
  EXPECT_FALSE(changed("total", 32));
  EXPECT_FALSE(changed("mode", "fsdp"));
  EXPECT_FALSE(changed("model", {{"type", "gpt2"}}));
  EXPECT_FALSE(changed("host", "c"));
  EXPECT_FALSE(changed("device", "cpu"));
  EXPECT_FALSE(changed("threads", 1));
  EXPECT_FALSE(changed("speed", 0.5));
  Json fewer = setup();
  fewer["ranks"].erase(1);
  EXPECT_FALSE(is_same_setup(setup(), fewer));
}

}  // namespace
}  // namespace lshdp::train
