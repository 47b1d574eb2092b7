// What differs between ranks is told by name, with who has which value.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm_fixture.h"
#include "lshdp/comm/same.h"
#include "lshdp/core/error.h"

namespace lshdp::comm {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Differences, AreNoneBetweenEqualRanks) {
  EXPECT_THAT(differences({{{"--lr", "1"}}, {{"--lr", "1"}}}, {"a", "b"}), IsEmpty());
  EXPECT_THAT(differences({{}, {}}, {"a", "b"}), IsEmpty());
}

TEST(Differences, NameValuesRanksAndNodes) {
  const std::vector<Facts> facts{
      {{"--lr", "1e-3"}, {"--seed", "0"}}, {{"--lr", "2e-3"}, {"--seed", "0"}}, {{"--lr", "1e-3"}, {"--seed", "0"}}};
  EXPECT_THAT(differences(facts, {"a", "b", "a"}), ElementsAre("--lr is 1e-3 on ranks 0, 2 (a), 2e-3 on rank 1 (b)"));
}

TEST(Differences, WhatARankLacksIsAbsentThere) {
  EXPECT_THAT(differences({{}, {{"--flip", "true"}}}, {"a", "b"}),
              ElementsAre("--flip is absent on rank 0 (a), true on rank 1 (b)"));
}

TEST(Differences, OfManyRanksTheFirstAreNamed) {
  std::vector<Facts> facts(7, Facts{{"x", "1"}});
  facts.push_back({{"x", "2"}});
  EXPECT_THAT(differences(facts, std::vector<std::string>(8, "a")),
              ElementsAre("x is 1 on ranks 0, 1, 2, 3, .. (a), 2 on rank 7 (a)"));
}

class Same : public test::OnRanks {};

TEST_F(Same, EqualRanksGoOn) { EXPECT_NO_THROW(require_same(communicator(), {{"x", "1"}}, "do")); }

TEST_F(Same, AllRanksFailAlike) {
  if (size() == 1) return;
  try {
    require_same(communicator(), {{"file\xff", rank() == 1 ? "2" : "1"}}, "copy it");
    FAIL() << "taken";
  } catch (const AgreedError& error) {
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_THAT(error.what(), testing::HasSubstr("2 on rank 1 ("));
    EXPECT_THAT(error.what(), testing::EndsWith("; copy it"));
  }
}

}  // namespace
}  // namespace lshdp::comm
