// Which interfaces join two hosts, and what is said where none does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lshdp/comm/connections.h"
#include "lshdp/comm/interfaces.h"

namespace lshdp::comm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<Interface> interfaces(const std::string& text) { return interfaces_from_text(text); }

TEST(Interfaces, GoThroughText) {
  const std::string text = "eth0=10.0.0.1/24 docker0=172.17.0.1/16";
  const auto read = interfaces(text);
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[0], (Interface{"eth0", 0x0a000001, 24}));
  EXPECT_EQ(to_text(read), text);
  EXPECT_EQ(network_of(read[1]), "172.17.0.0/16");
  EXPECT_THAT(interfaces("eth0 eth0= eth0=1.2.3/8 eth0=1.2.3.4 eth0=1.2.3.4/99"), IsEmpty());
}

TEST(Interfaces, OfOneNetworkJoinHosts) {
  const auto a = interfaces("docker0=172.17.0.1/16 eth0=10.0.0.1/24 ib0=10.1.0.1/24");
  const auto b = interfaces("docker0=172.17.0.1/16 ens3=10.0.0.2/24 ib0=10.2.0.1/24");
  EXPECT_THAT(common_networks(a, b), ElementsAre("10.0.0.0/24"));
  EXPECT_EQ(to_text(same_addresses(a, b)), "docker0=172.17.0.1/16");
}

TEST(Interfaces, OfThisHostAreUpAndNoLoopback) {
  for (const Interface& interface : own_interfaces()) EXPECT_NE(interface.address >> 24, 127u) << interface.name;
}

TEST(ConnectionAdvice, NamesTheNetworkThatJoinsAndTheAddressThatBothHave) {
  const Endpoint a{"a", interfaces("docker0=172.17.0.1/16 eth0=10.0.0.1/24")};
  const Endpoint b{"b", interfaces("docker0=172.17.0.1/16 eth0=10.0.0.2/24")};
  EXPECT_EQ(
      connection_advice(a, b),
      "both hosts have docker0=172.17.0.1/16; choose the network with mpirun --mca btl_tcp_if_include 10.0.0.0/24, "
      "and let no firewall close TCP ports between them");
}

TEST(ConnectionAdvice, TellsBothHostsInterfacesWhereNoNetworkJoinsThem) {
  const Endpoint a{"a", interfaces("eth0=10.0.0.1/24")}, b{"b", interfaces("eth0=10.3.0.2/24")};
  EXPECT_THAT(connection_advice(a, b), HasSubstr("a has eth0=10.0.0.1/24, b has eth0=10.3.0.2/24"));
}

}  // namespace
}  // namespace lshdp::comm
