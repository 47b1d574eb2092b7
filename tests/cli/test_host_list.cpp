// Lists of hosts as Open MPI, Slurm and PBS write them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host_list.h"
#include "lshdp/core/error.h"

namespace lshdp::cli {
namespace {

using testing::HasSubstr;

/// "a:1,b:2".
std::string text_of(const std::vector<HostRanks>& hosts) {
  std::string text;
  for (const HostRanks& host : hosts) text += (text.empty() ? "" : ",") + host.name + ':' + std::to_string(host.ranks);
  return text;
}

template <typename Function>
std::string message_of(const Function& function) {
  try {
    return "accepted: " + text_of(function());
  } catch (const UsageError& error) {
    return error.what();
  }
}

TEST(HostList, IsReadWithItsRanks) {
  EXPECT_EQ(text_of(parse_host_list("a, b:2,node-3.net:4", "--hosts")), "a:1,b:2,node-3.net:4");
  EXPECT_EQ(text_of(parse_host_list("a,b,a:2", "--hosts")), "a:3,b:1");
  const auto message = [](const std::string& text) {
    return message_of([&] { return parse_host_list(text, "--hosts"); });
  };
  EXPECT_EQ(message("a:0"), "--hosts: a host has 1 to 100000 ranks, not 0");
  EXPECT_THAT(message("a:1:2"), HasSubstr("--hosts: '1:2' is not a whole number"));
  EXPECT_THAT(message("a b"), HasSubstr("--hosts: 'a b' is no name of a host"));
  EXPECT_THAT(message("--x"), HasSubstr("is no name of a host"));
  EXPECT_THAT(message("a,,b"), HasSubstr("--hosts: an entry of the list is empty"));
}

TEST(Hostfile, IsOpenMpis) {
  EXPECT_EQ(text_of(parse_hostfile("# nodes\n\nnode1 slots=2 max_slots=4\r\nnode2\nnode1 slots=1  # again\n", "hosts")),
            "node1:3,node2:1");
  const auto message = [](const std::string& text) {
    return message_of([&] { return parse_hostfile(text, "hosts"); });
  };
  EXPECT_EQ(message("a\nb cores=2\n"), "hosts: line 2: 'cores=2' is not known here; write NAME slots=N");
  EXPECT_THAT(message("a slots=x\n"), HasSubstr("hosts: line 1: 'x' is not a whole number"));
  EXPECT_EQ(message("# none\n"), "hosts: names no host");
}

TEST(SlurmHosts, AreRefusedWhereThereAreMoreThanAnyoneHas) {
  const auto refusal = [](const std::string& nodes, const std::string& tasks) {
    return message_of([&] { return parse_slurm_hosts(nodes, tasks); });
  };
  EXPECT_THAT(refusal("a[9223372036854775800-9223372036854775807]", ""), HasSubstr("cannot be read here"));
  EXPECT_THAT(refusal("a[1-99999,1-99999]", ""), HasSubstr("cannot be read here"));
  EXPECT_THAT(refusal("a[1-99999],b[1-99999]", ""), HasSubstr("cannot be read here"));
  EXPECT_THAT(refusal("a", "1(x99999),1(x99999)"), HasSubstr("cannot be read here"));
}

TEST(SlurmHosts, AreWrittenOut) {
  EXPECT_EQ(text_of(parse_slurm_hosts("login", "")), "login:1");
  EXPECT_EQ(text_of(parse_slurm_hosts("gpu[08-11,3],login", "")), "gpu08:1,gpu09:1,gpu10:1,gpu11:1,gpu3:1,login:1");
  EXPECT_EQ(text_of(parse_slurm_hosts("n[1-3]-ib,m4", "2(x3),1")), "n1-ib:2,n2-ib:2,n3-ib:2,m4:1");
  for (const char* nodes : {"r[1-2]n[1-2]", "n[1-", "n[3-1]", "n]1[", "", "n[1-999999999]"})
    EXPECT_THAT(message_of([&] { return parse_slurm_hosts(nodes, ""); }), testing::Not(HasSubstr("accepted"))) << nodes;
  EXPECT_THAT(message_of([] { return parse_slurm_hosts("a,b", "2"); }), HasSubstr("Slurm's '2' cannot be read here"));
  EXPECT_THAT(message_of([] { return parse_slurm_hosts("a", "2(x1"); }), HasSubstr("cannot be read here"));
}

}  // namespace
}  // namespace lshdp::cli
