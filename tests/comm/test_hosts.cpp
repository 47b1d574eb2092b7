// Nodes and machines are told apart by their kernels, not by names.
#include <gtest/gtest.h>

#include "comm_fixture.h"
#include "lshdp/comm/hosts.h"
#include "lshdp/comm/node.h"
#include "lshdp/core/host.h"

namespace lshdp::comm {
namespace {

using Names = std::vector<std::string>;

TEST(Hosts, MachinesOfOneNameAreNodesOfTheirOwn) {
  const Hosts hosts = name_hosts({{"localhost", "1", "p"}, {"localhost", "2", "p"}, {"localhost", "1", "p"}});
  EXPECT_EQ(hosts.nodes, (Names{"localhost", "localhost#2", "localhost"}));
  EXPECT_EQ(hosts.machines, (Names{"localhost", "localhost#2", "localhost"}));
  EXPECT_EQ(map_nodes(hosts.nodes).nodes, (std::vector<std::vector<int>>{{0, 2}, {1}}));
  EXPECT_EQ(describe(hosts), "3 ranks on 2 nodes");
}

TEST(Hosts, NamesOfOneMachineAreNodesThatShareIt) {
  const Hosts hosts = name_hosts({{"a", "1", "p"}, {"b", "1", "q"}, {"c", "2", "p"}});
  EXPECT_EQ(hosts.nodes, (Names{"a", "b", "c"}));
  EXPECT_EQ(hosts.machines, (Names{"a", "a", "c"}));
  EXPECT_EQ(describe(hosts), "3 ranks on 3 nodes of 2 machines, whose memory and cores they share");
}

TEST(Hosts, AKernelWithoutABootIdIsToldByItsHostsName) {
  const Hosts hosts = name_hosts({{"a", "", ""}, {"b", "", ""}, {"a", "", ""}});
  EXPECT_EQ(hosts.nodes, (Names{"a", "b", "a"}));
  EXPECT_EQ(hosts.machines, (Names{"a", "b", "a"}));
  EXPECT_EQ(describe(name_hosts({{"a", "1", "p"}})), "1 rank on 1 node");
}

TEST(Hosts, ANumberedNameIsNotTakenTwice) {
  const Hosts hosts = name_hosts({{"a", "1", "p"}, {"a#2", "2", "p"}, {"a", "3", "p"}});
  EXPECT_EQ(hosts.nodes, (Names{"a", "a#2", "a#3"}));
}

class GatheredHosts : public test::OnRanks {};

TEST_F(GatheredHosts, RanksOfThisMachineAreOnOneNode) {
  const Hosts hosts = gather_hosts(communicator());
  EXPECT_EQ(hosts.nodes, Names(static_cast<std::size_t>(size()), host_name()));
  EXPECT_EQ(hosts.machines, hosts.nodes);
  EXPECT_FALSE(hosts.places.back().boot.empty());
  EXPECT_EQ(hosts.places.back().process_namespace, place_of_this_process().process_namespace);
}

}  // namespace
}  // namespace lshdp::comm
