// Diagrams of layouts: every stage, link and sum is there, with what is known of it and no more.
#include <algorithm>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/plan/diagram.h"
#include "plan/profiles.h"

namespace lshdp::plan {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// Rank 3 alone beside ranks 0 and 1 in a row, in which rank 0 has both ends.
Layout example_layout() {
  Layout layout{.model = "mlp", .blocks = 4};
  layout.replicas = {{40, {20, 20}, {{.rank = 3, .start = 0, .end = 4}}},
                     {24,
                      {24},
                      {{.rank = 0, .start = 0, .end = 1, .predicted = StageTime{0.1, 0.2, 0.05}},
                       {.rank = 1, .start = 1, .end = 3, .predicted_bytes = 1 << 30},
                       {.rank = 0, .start = 3, .end = 4}}}};
  layout.predicted.step_seconds = 1.5;
  return layout;
}

Profile example_profile() {
  Profile profile = test::make_profile({test::linear_rank(64, 0, 1), test::linear_rank(64, 0, 1),
                                        test::linear_rank(64, 0, 1), test::linear_rank(64, 0, 1)});
  profile.parameter_count = 1'000;
  profile.gradient_bytes = 4'000;
  profile.blocks = {{"first", 256, 0, 1024}, {"second", 500, 0, 2048}, {"third", 244, 0, 4096}, {"last", 0, 0, 40}};
  profile.ranks[0].host = profile.ranks[1].host = "fast";
  profile.ranks[2].host = "idle";
  profile.ranks[3].host = "n\"o\\de <3>";
  return profile;
}

std::ptrdiff_t count(const std::string& text, const std::string& part) {
  std::ptrdiff_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(DotDiagram, ShowsStagesAndTheirLinks) {
  const std::string dot = dot_diagram(example_layout());
  EXPECT_THAT(dot, AllOf(HasSubstr("digraph layout {"), HasSubstr("mlp, 64 samples a step, 1f1b, 1.5 s a step")));
  EXPECT_THAT(dot, HasSubstr("batch0 [label=\"replica 0\\n40 samples a step\\nas 2 x 20\""));
  EXPECT_THAT(dot, HasSubstr("batch1 [label=\"replica 1\\n24 samples a step\""));
  EXPECT_THAT(dot, HasSubstr("r0s0 [label=\"rank 3\\nblocks 0..3\""));
  EXPECT_THAT(dot, HasSubstr("r1s0 [label=\"rank 0, stage 1 of 3\\nblock 0\\n1 in flight\\nforward 100 ms\\nbackward "
                             "200 ms\""));
  EXPECT_THAT(dot, HasSubstr("r1s1 [label=\"rank 1, stage 2 of 3\\nblocks 1..2\\n1 in flight\\nmemory 1.00 GiB\""));
  EXPECT_THAT(dot, HasSubstr("batch1 -> r1s0 "));
  EXPECT_THAT(dot, HasSubstr("r1s0 -> r1s1 [label=<"));
  EXPECT_THAT(dot, HasSubstr(">50 ms a micro-batch<"));
  EXPECT_THAT(dot, HasSubstr("r1s1 -> r1s2 [label=\"\""));
  EXPECT_EQ(count(dot, " -> "), 2 + 2 + 3);
  EXPECT_EQ(count(dot, "style=dashed"), 3);  // rank 3 with each stage of the other replica
  EXPECT_THAT(dot, AllOf(Not(HasSubstr("subgraph")), Not(HasSubstr("left out"))));
  EXPECT_EQ(count(dot, "{"), count(dot, "}"));
}

TEST(DotDiagram, ShowsHostsAndBytesOfAProfile) {
  const Profile profile = example_profile();
  const std::string dot = dot_diagram(example_layout(), &profile);
  EXPECT_EQ(count(dot, "subgraph cluster_"), 3);
  EXPECT_THAT(dot, AllOf(HasSubstr("label=\"fast\""), HasSubstr(R"(label="n\"o\\de <3>")")));
  EXPECT_THAT(dot, HasSubstr("rank2 [label=\"rank 2\\nleft out\""));
  EXPECT_THAT(dot, HasSubstr("blocks 1..2\\nsecond .. third\\n"));
  // 24 samples of what the first stage's last block, and the second's, give on.
  EXPECT_THAT(dot, AllOf(HasSubstr("24.0 KiB a step each way"), HasSubstr("96.0 KiB a step each way")));
  // Of blocks 0, 1 and 2, and 3, four bytes a parameter.
  EXPECT_THAT(dot, AllOf(HasSubstr("gradients<br/>1.00 KiB"), HasSubstr("gradients<br/>2.91 KiB"),
                         HasSubstr("gradients<br/>0 B")));
}

TEST(DotDiagram, JoinsReplicasInARow) {
  Layout layout{.blocks = 2};
  for (std::int64_t rank = 0; rank < 6; ++rank)
    layout.replicas.push_back({4, {4}, {{.rank = rank, .start = 0, .end = 2}}});
  const std::string dot = dot_diagram(layout);
  EXPECT_EQ(count(dot, "style=dashed"), 5);
  EXPECT_THAT(dot, AllOf(HasSubstr("24 samples a step\""), Not(HasSubstr("1f1b")), Not(HasSubstr("in flight"))));
}

TEST(MermaidDiagram, ShowsTheSame) {
  const Profile profile = example_profile();
  const std::string text = mermaid_diagram(example_layout(), &profile);
  EXPECT_EQ(text.substr(0, 12), "---\ntitle: \"");
  EXPECT_THAT(text, HasSubstr("flowchart LR\n"));
  EXPECT_EQ(count(text, "  subgraph "), 3);
  EXPECT_EQ(count(text, "  end\n"), 3);
  EXPECT_THAT(text, HasSubstr("[\"n#quot;o#92;de #lt;3#gt;\"]"));
  EXPECT_THAT(text, HasSubstr("batch0([\"replica 0<br/>40 samples a step<br/>as 2 x 20\"]):::colour0"));
  EXPECT_THAT(text,
              HasSubstr("r1s0[\"rank 0, stage 1 of 3<br/>block 0<br/>first<br/>1 in flight<br/>forward 100 ms<br/>"
                        "backward 200 ms\"]:::colour1"));
  EXPECT_THAT(text, HasSubstr("r1s0 <-->|\"50 ms a micro-batch<br/>24.0 KiB a step each way\"| r1s1"));
  EXPECT_THAT(text, HasSubstr("r0s0 -.-|\"gradients<br/>1.00 KiB\"| r1s0"));
  EXPECT_EQ(count(text, " --> "), 2);
  EXPECT_THAT(text, HasSubstr("rank2[\"rank 2<br/>left out\"]:::leftout"));
}

std::string refusal(const Profile& profile) {
  try {
    require_of_layout(profile, example_layout(), "p.json");
    return "accepted";
  } catch (const UsageError& error) {
    return error.what();
  }
}

TEST(Diagram, TakesTheProfileOfItsLayout) {
  Profile profile = example_profile();
  EXPECT_EQ(refusal(profile), "accepted");
  profile.model = "vit";
  EXPECT_EQ(refusal(profile),
            "p.json: is of vit, but the layout is of mlp; give the profile that the layout was planned from");
  profile = example_profile();
  profile.blocks.pop_back();
  EXPECT_THAT(refusal(profile), HasSubstr("p.json: has 3 blocks, but the layout has 4"));
  profile.blocks.clear();
  EXPECT_EQ(refusal(profile), "accepted");
  EXPECT_THAT(dot_diagram(example_layout(), &profile), Not(HasSubstr("each way")));
  profile.ranks.pop_back();
  EXPECT_THAT(refusal(profile), HasSubstr("p.json: has no rank 3, which the layout has"));
}

}  // namespace
}  // namespace lshdp::plan
