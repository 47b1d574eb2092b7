// Collectives on a network of two levels, worked out by hand.
#include <gtest/gtest.h>

#include "lshdp/explore/collectives.h"

namespace lshdp::explore::test {
namespace {

/// Nodes of 4 devices: 100 bytes a second within, 10 between; 1 and 5 seconds a message; links are reached in full.
Hardware nodes() {
  Hardware hardware;
  hardware.cluster = {.name = "nodes", .devices_per_node = 4, .within_node = {100, 1}, .between_nodes = {10, 5}};
  hardware.efficiency.link = 1;
  return hardware;
}

TEST(Collectives, OfOneDeviceTakeNoTime) {
  EXPECT_EQ(all_gather(nodes(), {1, 1}).of(1000), 0);
  EXPECT_EQ(all_reduce(nodes(), {1, 4}).of(1000), 0);
  EXPECT_EQ(all_to_all(nodes(), {1, 1}).of(1000), 0);
}

TEST(Collectives, WithinANodeGoRoundARing) {
  // 3 messages of 1 s, and 3/4 of 1000 bytes at 100 bytes/s.
  EXPECT_DOUBLE_EQ(all_gather(nodes(), {4, 1}).of(1000), 3 + 7.5);
  EXPECT_DOUBLE_EQ(all_reduce(nodes(), {4, 1}).of(1000), 2 * (3 + 7.5));
  // Two devices that stand two apart are still in one node: 1 message, half of the bytes.
  EXPECT_DOUBLE_EQ(all_gather(nodes(), {2, 2}).of(1000), 1 + 5);
}

TEST(Collectives, BetweenNodesEachDeviceSendsItsPart) {
  // Two of each of 3 nodes. Within: 1 s + 1/2 x 1000/100 s. Between, of the half that each has: 2 x 5 s and 2/3 x
  // 500/10 s.
  EXPECT_DOUBLE_EQ(all_gather(nodes(), {6, 2}).of(1000), (1 + 5.0) + (10 + 2.0 / 3 * 50));
  // One of each of 8 nodes.
  EXPECT_DOUBLE_EQ(all_gather(nodes(), {8, 4}).of(1000), 7 * 5 + 7.0 / 8 * 100);
  EXPECT_DOUBLE_EQ(all_gather(nodes(), {8, 16}).of(1000), 7 * 5 + 7.0 / 8 * 100);
}

TEST(Collectives, AllToAllUsesBothNetworksAtOnce) {
  // 3/4 of the bytes to the others of the node.
  EXPECT_DOUBLE_EQ(all_to_all(nodes(), {4, 1}).of(1000), 3 + 7.5);
  // Of 8 devices on 2 nodes, half of the bytes leave the node, in 4 messages; the rest passes meanwhile.
  EXPECT_DOUBLE_EQ(all_to_all(nodes(), {8, 1}).of(1000), 4 * 5 + 50);
}

TEST(Collectives, MessagesTakeTheLinkBetweenTheirDevices) {
  EXPECT_DOUBLE_EQ(send(nodes(), 2).of(1000), 1 + 10);
  EXPECT_DOUBLE_EQ(send(nodes(), 4).of(1000), 5 + 100);
  EXPECT_EQ(send(nodes(), 4).of(0), 0);
}

TEST(Collectives, ReachTheirShareOfALink) {
  Hardware hardware = nodes();
  hardware.efficiency.link = 0.5;
  EXPECT_DOUBLE_EQ(all_gather(hardware, {4, 1}).of(1000), 3 + 15);
}

}  // namespace
}  // namespace lshdp::explore::test
