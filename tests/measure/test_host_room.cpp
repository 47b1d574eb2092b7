// What hosts have free against what the stores of their ranks keep there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/core/error.h"
#include "lshdp/measure/host_room.h"

namespace lshdp::measure {
namespace {

RankSetup of_lsdp() {
  RankSetup setup;
  setup.strategy.mode = plan::Mode::lsdp;
  return setup;
}

TEST(HostRoom, RanksOfAHostNeedItsMemoryTogetherAndSeeItOnce) {
  const std::vector<HostRoom> rooms = host_rooms({"b", "a", "b"}, {10, 20, 5}, {100, 200, 101});
  ASSERT_EQ(rooms.size(), 2u);
  EXPECT_EQ(rooms[0].host, "b");
  EXPECT_EQ(rooms[0].needed_bytes, 15);
  EXPECT_EQ(rooms[0].free_bytes, 101);
  EXPECT_EQ(rooms[1].host, "a");
  EXPECT_EQ(rooms[1].needed_bytes, 20);
  EXPECT_EQ(rooms[1].free_bytes, 200);
}

TEST(HostRoom, WhatJustFitsIsAccepted) {
  EXPECT_NO_THROW(require_host_room({{"a", 100, 100}, {"b", 0, 0}}, of_lsdp()));
}

TEST(HostRoom, AHostThatIsTooSmallIsNamedWithItsNeedAndARemedy) {
  const std::vector<HostRoom> rooms{{"a", 1 << 20, 1 << 30}, {"b", 3 << 20, 2 << 20}};
  try {
    require_host_room(rooms, of_lsdp());
    FAIL() << "b was taken";
  } catch (const UsageError& error) {
    EXPECT_EQ(
        std::string(error.what()),
        "--mode: lsdp keeps 3.00 MiB in the memory of b, which has 2.00 MiB free; take more hosts, or --precision "
        "bf16, or a smaller model");
  }
}

}  // namespace
}  // namespace lshdp::measure
