// What each rank may take of a machine that several share: cores by masks and quotas, memory by who shares which bound.
#include <cstdlib>

#include <gtest/gtest.h>

#include "lshdp/measure/machine_share.h"

namespace lshdp::measure {
namespace {

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

std::vector<int> cores(int first, int count) {
  std::vector<int> numbers;
  for (int i = 0; i < count; ++i) numbers.push_back(first + i);
  return numbers;
}

RankRoom room(std::vector<int> own, std::vector<MemoryRoom> memory = {}) {
  return {.machine = "a", .node = "a", .cores = std::move(own), .quota = {}, .memory = std::move(memory)};
}

TEST(CoreShare, OfCoresThatAllRanksMayUseEachGetsItsPart) {
  const std::vector<RankRoom> rooms{room(cores(0, 8)), room(cores(0, 8)), room(cores(0, 8))};
  EXPECT_EQ(core_share(rooms, 0), 2);
  EXPECT_EQ(machine_cores(rooms, 0), 8);
}

TEST(CoreShare, CoresOfItsOwnAreAllARanks) {
  const std::vector<RankRoom> rooms{room(cores(0, 2)), room(cores(2, 2)), room(cores(2, 6))};
  EXPECT_EQ(core_share(rooms, 0), 2);
  EXPECT_EQ(core_share(rooms, 1), 1);
  EXPECT_EQ(core_share(rooms, 2), 5);
  EXPECT_EQ(machine_cores(rooms, 0), 8);
}

TEST(CoreShare, IsAtLeastOne) {
  const std::vector<RankRoom> rooms{room({0}), room({0}), room({0})};
  EXPECT_EQ(core_share(rooms, 2), 1);
}

TEST(CoreShare, RanksOfANodeShareItsQuotaAndOtherMachinesTakeNothing) {
  std::vector<RankRoom> rooms{room(cores(0, 16)), room(cores(0, 16)), room(cores(0, 16))};
  rooms[0].quota = rooms[1].quota = 4;
  rooms[2].machine = rooms[2].node = "b";
  EXPECT_EQ(core_share(rooms, 0), 2);
  EXPECT_EQ(core_share(rooms, 2), 16);
  EXPECT_EQ(machine_cores(rooms, 0), 4);
}

TEST(CoreShare, NodesOfOneMachineShareItsCores) {
  std::vector<RankRoom> rooms{room(cores(0, 4)), room(cores(0, 4))};
  rooms[1].node = "b";
  EXPECT_EQ(core_share(rooms, 0), 2);
}

TEST(MemoryDomains, RanksOfAMachineShareWhatItHasWhateverTheirNodesAreCalled) {
  std::vector<RankRoom> rooms{room({0}, {{"", 8 * kGiB}}), room({0}, {{"", 8 * kGiB}})};
  rooms[1].node = "b";
  const auto domains = memory_domains(rooms);
  EXPECT_EQ(domains[0].ranks, 2);
  EXPECT_EQ(domains[1].ranks, 2);
  EXPECT_EQ(domains[1].name, "a");
  EXPECT_EQ(domains[1].free_bytes, 8 * kGiB);
}

TEST(MemoryDomains, RanksInControlGroupsOfTheirOwnShareNothingWhileTheMachineHasEnough) {
  std::vector<RankRoom> rooms{room({0}, {{"", 64 * kGiB}, {"0:7", 2 * kGiB}}),
                              room({0}, {{"", 64 * kGiB}, {"0:8", 3 * kGiB}})};
  auto domains = memory_domains(rooms);
  EXPECT_EQ(domains[0].free_bytes, 2 * kGiB);
  EXPECT_EQ(domains[0].ranks, 1);
  EXPECT_EQ(domains[1].free_bytes, 3 * kGiB);
  EXPECT_NE(domains[0].name, domains[1].name);
  rooms[0].memory[0].left = rooms[1].memory[0].left = 3 * kGiB;
  domains = memory_domains(rooms);
  EXPECT_EQ(domains[0].free_bytes, 3 * kGiB) << "half of the machine's is less than the group's";
  EXPECT_EQ(domains[0].ranks, 2);
}

TEST(MemoryDomains, RanksWhoseTensorsLieElsewhereTakeNoPart) {
  std::vector<RankRoom> rooms{room({0}, {{"", kGiB}}), room({0}, {{"", kGiB}})};
  rooms[1].on_host = false;
  EXPECT_EQ(memory_domains(rooms)[0].ranks, 1);
}

TEST(ThreadsOfEnvironment, AreTheFirstNumberOrNone) {
  const auto said = [](const char* text) {
    setenv("OMP_NUM_THREADS", text, 1);
    return threads_of_environment();
  };
  EXPECT_EQ(said("6"), 6);
  EXPECT_EQ(said("4,2"), 4);
  EXPECT_EQ(said("0"), std::nullopt);
  EXPECT_EQ(said("many"), std::nullopt);
  EXPECT_EQ(said(""), std::nullopt);
  unsetenv("OMP_NUM_THREADS");
  EXPECT_EQ(threads_of_environment(), std::nullopt);
}

}  // namespace
}  // namespace lshdp::measure
