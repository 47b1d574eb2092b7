// Tests of subgroups of ranks, of memory that ranks of a node share, and of waiting for each other in it.
#include <atomic>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "comm_fixture.h"
#include "lshdp/comm/agree.h"
#include "lshdp/comm/node.h"
#include "lshdp/comm/null_communicator.h"

namespace lshdp::comm {
namespace {

TEST(NodeMap, GroupsRanksByNameInTheOrderOfTheirLowestRank) {
  const NodeMap map = map_nodes({"b", "a", "b", "c"});
  EXPECT_EQ(map.nodes, (std::vector<std::vector<int>>{{0, 2}, {1}, {3}}));
  EXPECT_EQ(map.node_of(2), 0);
  EXPECT_EQ(map.local_rank(2), 1);
  EXPECT_TRUE(map.leads(1));
  EXPECT_FALSE(map.leads(2));
  EXPECT_EQ(map.leaders(), (std::vector<int>{0, 1, 3}));
  EXPECT_EQ(map.in_node_order(), (std::vector<int>{0, 2, 1, 3}));
  EXPECT_THROW(map.node_of(4), std::invalid_argument);
}

class Node : public test::OnRanks {
 protected:
  /// Rank r on node r % nodes.
  NodeMap spread_over(int nodes) const {
    std::vector<std::string> names;
    for (int r = 0; r < size(); ++r) names.push_back(std::to_string(r % nodes));
    return map_nodes(names);
  }
};

TEST_F(Node, SubgroupsSumApartFromEachOther) {
  std::vector<int> members;
  for (int r = rank() % 2; r < size(); r += 2) members.push_back(r);
  const auto group = communicator().subgroup(members);
  EXPECT_EQ(group->size(), static_cast<int>(members.size()));
  EXPECT_EQ(members[static_cast<std::size_t>(group->rank())], rank());
  std::vector<double> values(1000, rank());
  group->all_reduce_sum({values.data(), 1000, DataType::float64}).wait();
  double expected = 0;
  for (const int member : members) expected += member;
  EXPECT_EQ(values.front(), expected);
  EXPECT_EQ(values.back(), expected);
  EXPECT_EQ(communicator().counters().bytes_sent, group->counters().bytes_sent);
  group->barrier();
}

TEST_F(Node, ASubgroupOfASubgroupCountsFromTheSubgroup) {
  if (size() < 3 || rank() == 0) return;
  std::vector<int> without_first;
  for (int r = 1; r < size(); ++r) without_first.push_back(r);
  const auto outer = communicator().subgroup(without_first);
  if (outer->rank() > 1) return;
  const auto inner = outer->subgroup({0, 1});
  double value = rank();
  inner->all_reduce_sum({&value, 1, DataType::float64}).wait();
  EXPECT_EQ(value, 3);  // ranks 1 and 2
  inner->barrier();
}

TEST_F(Node, ASubgroupMustHoldItsMakerAndRise) {
  EXPECT_THROW(communicator().subgroup({}), std::invalid_argument);
  EXPECT_THROW(communicator().subgroup({size()}), std::invalid_argument);
  EXPECT_THROW(communicator().subgroup({rank(), rank()}), std::invalid_argument);
}

TEST_F(Node, MemoryIsSeenByTheRanksOfTheNodeAndByNoOthers) {
  const NodeMap map = spread_over(2);
  const NodeMemory memory(communicator(), map, 4096 * 3, [](std::byte* data) { data[0] = std::byte{7}; });
  EXPECT_EQ(memory.data()[0], std::byte{7});
  EXPECT_EQ(memory.data()[1], std::byte{0});
  memory.data()[100 + rank()] = std::byte{1};
  communicator().barrier();
  for (int r = 0; r < size(); ++r) {
    EXPECT_EQ(memory.data()[100 + r] == std::byte{1}, map.node_of(r) == map.node_of(rank()));
  }
  communicator().barrier();
}

TEST_F(Node, AMonitorLetsRanksWaitForEachOther) {
  struct Shared {
    NodeMonitor monitor;
    int arrived = 0;
  };
  const NodeMap map = spread_over(1);
  const NodeMemory memory(communicator(), map, sizeof(Shared), [](std::byte* data) { new (data) Shared; });
  auto* shared = reinterpret_cast<Shared*>(memory.data());
  const std::atomic<bool> never = false;
  for (int round = 1; round <= 200; ++round) {
    std::unique_lock lock(shared->monitor);
    ++shared->arrived;
    shared->monitor.ring();
    EXPECT_TRUE(shared->monitor.wait([&] { return shared->arrived >= round * size(); }, never));
  }
  communicator().barrier();
}

TEST_F(Node, AWaitEndsWhenThisRankGivesUp) {
  NodeMonitor monitor;
  std::atomic<bool> give_up = false;
  std::thread other([&] { give_up = true; });
  std::unique_lock lock(monitor);
  EXPECT_FALSE(monitor.wait([] { return false; }, give_up));
  other.join();
}

TEST(NodeWithoutANetwork, IsOneRankAlone) {
  const auto null = make_null_communicator(2, 4);
  const NodeMap map = map_nodes(all_gather_hosts(*null));
  EXPECT_EQ(map.nodes[static_cast<std::size_t>(map.node_of(2))], std::vector<int>{2});
  EXPECT_TRUE(map.leads(2));
  const NodeMemory memory(*null, map, 100);
  memory.data()[99] = std::byte{1};
  const auto leaders = null->subgroup(map.leaders());
  EXPECT_EQ(leaders->size(), 2);
  EXPECT_EQ(leaders->rank(), 1);
}

}  // namespace
}  // namespace lshdp::comm
