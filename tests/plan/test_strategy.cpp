// Strategies: names, JSON, what does not go together, and how two of them differ.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/core/json.h"
#include "lshdp/plan/strategy.h"

namespace lshdp::plan {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
    return "accepted";
  } catch (const UsageError& error) {
    return error.what();
  }
}

TEST(Strategy, NamesAreThoseOfTheCommandLine) {
  for (const char* name : {"ddp", "fsdp", "lsdp"}) EXPECT_EQ(to_text(mode_from_text(name)), name);
  for (const char* name : {"fp32", "bf16", "fp16", "fp64"}) EXPECT_EQ(to_text(precision_from_text(name)), name);
  for (const char* name : {"exact", "bf16"}) EXPECT_EQ(to_text(wire_from_text(name)), name);
  EXPECT_THAT(refusal([] { mode_from_text("zero"); }), AllOf(HasSubstr("--mode"), HasSubstr("ddp, fsdp or lsdp")));
  EXPECT_THAT(refusal([] { precision_from_text("half"); }), HasSubstr("--precision"));
  EXPECT_THAT(refusal([] { wire_from_text("fp8"); }), HasSubstr("--wire"));
}

TEST(Strategy, TraitsAreThoseOfTheMode) {
  EXPECT_TRUE(traits_of(Mode::ddp).replicates);
  EXPECT_TRUE(traits_of(Mode::fsdp).gathers_every_pass);
  EXPECT_TRUE(traits_of(Mode::lsdp).streams);
  for (const Mode mode : {Mode::ddp, Mode::fsdp, Mode::lsdp}) EXPECT_EQ(traits_of(mode).name, to_text(mode));
}

TEST(Strategy, IsReadBackAsItWasWritten) {
  for (const Strategy& strategy :
       {Strategy{}, Strategy{.mode = Mode::fsdp, .offload = true, .precision = Precision::fp16},
        Strategy{.mode = Mode::lsdp, .precision = Precision::bf16, .resident = 3},
        Strategy{.mode = Mode::lsdp, .recompute = true, .offload_activations = true, .resident = kAllResident},
        Strategy{.wire = Wire::bf16, .recompute = true}}) {
    EXPECT_EQ(strategy_from_json(to_json(strategy), "p.json"), strategy);
  }
  EXPECT_EQ(strategy_from_json({{"mode", "lsdp"}}, "p.json"), Strategy{.mode = Mode::lsdp});
}

TEST(Strategy, IsRefusedWithTheFileAndTheKey) {
  const auto with = [](const char* key, const Json& value) {
    Json json = to_json(Strategy{});
    json[key] = value;
    return refusal([&] { strategy_from_json(json, "p.json"); });
  };
  EXPECT_THAT(refusal([] { strategy_from_json(Json::object(), "p.json"); }), HasSubstr("\"mode\" is missing"));
  EXPECT_THAT(with("mode", "zero"), AllOf(HasSubstr("p.json"), HasSubstr("\"mode\" must be ddp, fsdp or lsdp")));
  EXPECT_THAT(with("precision", 16), HasSubstr("\"precision\""));
  EXPECT_THAT(with("resident", -1), HasSubstr("\"resident\""));
  EXPECT_THAT(with("offload", true), AllOf(HasSubstr("p.json"), HasSubstr("--offload")));
}

TEST(Strategy, MustGoTogether) {
  EXPECT_THAT(refusal([] { require_valid({.offload = true}); }), HasSubstr("--offload: only --mode fsdp"));
  EXPECT_THAT(refusal([] { require_valid({.resident = 2}); }), HasSubstr("--resident: only --mode lsdp"));
  EXPECT_THAT(refusal([] { require_valid({.offload_activations = true}); }), HasSubstr("add --recompute"));
  EXPECT_THAT(refusal([] { require_valid({.mode = Mode::fsdp, .wire = Wire::bf16}); }), HasSubstr("--mode ddp"));
  EXPECT_THAT(refusal([] { require_valid({.precision = Precision::fp64, .wire = Wire::bf16}); }), HasSubstr("fp64"));
  EXPECT_THAT(refusal([] { require_valid({.precision = Precision::fp16, .wire = Wire::bf16}); }), HasSubstr("fp16"));
  EXPECT_EQ(refusal([] { require_valid({.precision = Precision::bf16, .wire = Wire::bf16}); }), "accepted");
}

TEST(Strategy, TellsEveryDifference) {
  const Strategy planned{.mode = Mode::fsdp, .offload = true, .precision = Precision::bf16, .recompute = true};
  EXPECT_THAT(differences(planned, planned), IsEmpty());
  EXPECT_THAT(differences(planned, {}),
              ElementsAre("mode fsdp --offload, but this run has ddp", "precision bf16, but this run has fp32",
                          "--recompute, but this run has no --recompute"));
  // What was left to the program is no difference.
  EXPECT_THAT(differences({.mode = Mode::lsdp}, {.mode = Mode::lsdp, .resident = 2}), IsEmpty());
  EXPECT_THAT(differences({.mode = Mode::lsdp, .resident = 3}, {.mode = Mode::lsdp, .resident = 2}),
              ElementsAre("--resident 3, but this run has 2"));
}

}  // namespace
}  // namespace lshdp::plan
