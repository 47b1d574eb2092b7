// Free memory is the least of what the kernel and every control group around the process leave.
#include <filesystem>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/measure/host_memory.h"
#include "support/temporary_directory.h"

namespace lshdp::measure {
namespace {

namespace fs = std::filesystem;

/// A root folder with what the kernel would show there.
class FakeHost {
 public:
  FakeHost(const std::string& available_kilobytes, const std::string& groups) {
    put("proc/meminfo",
        "MemTotal:       99999999 kB\nMemFree:  1 kB\nMemAvailable:   " + available_kilobytes + " kB\n");
    put("proc/self/cgroup", groups);
  }
  void put(const std::string& path, const std::string& content) {
    fs::create_directories((root_.path() / path).parent_path());
    write_file(root_.path() / path, content);
  }
  std::int64_t available() const { return available_host_memory(root_.path()); }
  ProcessMemory process() const { return process_memory(root_.path()); }
  std::optional<ProcessLimit> limit() const { return process_limit(root_.path()); }
  int cores() const { return usable_cores(root_.path()); }

 private:
  test::TemporaryDirectory root_;
};

TEST(AvailableHostMemory, IsTheKernelsFigureWithoutControlGroups) {
  EXPECT_EQ(FakeHost("1000", "").available(), 1'024'000);
}

TEST(AvailableHostMemory, HeedsTheGroupsOfVersion2AndThoseAroundThem) {
  FakeHost host("1000", "0::/slice/job\n");
  host.put("sys/fs/cgroup/slice/job/memory.max", "max\n");
  host.put("sys/fs/cgroup/slice/job/memory.current", "5\n");
  EXPECT_EQ(host.available(), 1'024'000);
  host.put("sys/fs/cgroup/slice/memory.max", "500000\n");
  host.put("sys/fs/cgroup/slice/memory.current", "100000\n");
  EXPECT_EQ(host.available(), 400'000);
  host.put("sys/fs/cgroup/slice/memory.stat", "anon 1\ninactive_file 30000\n");
  EXPECT_EQ(host.available(), 430'000) << "page cache is given up on demand";
  host.put("sys/fs/cgroup/slice/memory.stat", "anon 1\ninactive_file 30000\nactive_file 40000\n");
  EXPECT_EQ(host.available(), 470'000) << "also what was read twice";
}

TEST(AvailableHostMemory, HeedsTheGroupsOfVersion1) {
  FakeHost host("1000", "5:cpu:/elsewhere\n4:hugetlb,memory:/docker/abc\n");
  // In a container the mount shows the own group as its root.
  host.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "700000\n");
  host.put("sys/fs/cgroup/memory/memory.usage_in_bytes", "200000\n");
  EXPECT_EQ(host.available(), 500'000);
  host.put("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "300000\n");
  host.put("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "310000\n");
  EXPECT_EQ(host.available(), 0);
}

TEST(AvailableHostMemory, CountsThePageCacheOfVersion1) {
  FakeHost host("1000", "4:memory:/job\n");
  host.put("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "700000\n");
  host.put("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "600000\n");
  host.put("sys/fs/cgroup/memory/job/memory.stat", "total_inactive_file 100000\ntotal_active_file 200000\n");
  EXPECT_EQ(host.available(), 400'000);
}

TEST(AvailableHostMemory, AnUnlimitedGroupOfVersion1ChangesNothing) {
  FakeHost host("1000", "4:memory:/\n");
  host.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  host.put("sys/fs/cgroup/memory/memory.usage_in_bytes", "1000\n");
  EXPECT_EQ(host.available(), 1'024'000);
}

TEST(ProcessMemory, IsWhatTheKernelTellsOfTheProcess) {
  FakeHost host("1000", "");
  host.put("proc/self/status", "Name:\tx\nVmHWM:\t    2000 kB\nVmRSS:\t    1500 kB\n");
  EXPECT_EQ(host.process().resident_bytes, 1500 * 1024);
  EXPECT_EQ(host.process().peak_bytes, 2000 * 1024);
  EXPECT_GT(process_memory().resident_bytes, 1 << 20);
}

TEST(ProcessLimit, IsWhatTheLimitOfAddressSpaceLeaves) {
  FakeHost host("1000", "");
  host.put("proc/self/status", "VmSize:\t 300000 kB\nVmData:\t 1 kB\n");
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  const rlimit limit{std::uint64_t{4} << 40, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
  const auto found = host.limit();
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->name, "ulimit -v");
  EXPECT_EQ(found->left_bytes, (std::int64_t{4} << 40) - 300'000 * 1024);
}

TEST(UsableCores, AreNoMoreThanTheQuotaOfAnyGroupRoundedUp) {
  FakeHost host("1000", "5:cpu,cpuacct:/node\n0::/job\n");
  const int all = host.cores();
  host.put("sys/fs/cgroup/cpu/node/cpu.cfs_quota_us", "-1\n");
  host.put("sys/fs/cgroup/cpu/node/cpu.cfs_period_us", "20000\n");
  EXPECT_EQ(host.cores(), all) << "no quota";
  host.put("sys/fs/cgroup/cpu/node/cpu.cfs_quota_us", "7000\n");
  EXPECT_EQ(host.cores(), 1);
  host.put("sys/fs/cgroup/cpu/node/cpu.cfs_quota_us", "100000000\n");
  EXPECT_EQ(host.cores(), all);
  host.put("sys/fs/cgroup/job/cpu.max", "max 100000\n");
  EXPECT_EQ(host.cores(), all);
  host.put("sys/fs/cgroup/cpu.max", "50000 100000\n");
  EXPECT_EQ(host.cores(), 1);
}

TEST(AvailableHostMemory, AHostThatDoesNotTellIsAnError) {
  const test::TemporaryDirectory empty;
  EXPECT_THROW(available_host_memory(empty.path()), RunError);
}

TEST(AvailableHostMemory, ThisHostHasSome) {
  EXPECT_GT(available_host_memory(), 1 << 20);
  EXPECT_GE(usable_cores(), 1);
}

}  // namespace
}  // namespace lshdp::measure
