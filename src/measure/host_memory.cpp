// Free memory from /proc/meminfo, cores from the affinity mask, and both from the control groups of /proc/self/cgroup.
#include "lshdp/measure/host_memory.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lshdp/core/error.h"

namespace lshdp::measure {
namespace {

namespace fs = std::filesystem;

/// Names of the files in which one version of control groups keeps its figures.
struct GroupFiles {
  const char* limit;
  const char* usage;
  const char* prefix;  // of keys in memory.stat
};
constexpr GroupFiles kVersion1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_"};
constexpr GroupFiles kVersion2{"memory.max", "memory.current", ""};

std::optional<std::int64_t> number_in(const fs::path& path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  return file >> value ? std::optional(value) : std::nullopt;  // "max" is no number: no limit
}

/// The number behind `key` in a file of "key value" lines.
std::optional<std::int64_t> number_after(const fs::path& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    std::int64_t value = 0;
    if (words >> name >> value && name == key) return value;
  }
  return std::nullopt;
}

/// What the group in `folder` leaves, none if it sets no limit.
std::optional<std::int64_t> left_by_group(const fs::path& folder, const GroupFiles& files) {
  const auto limit = number_in(folder / files.limit), usage = number_in(folder / files.usage);
  if (!limit || !usage) return std::nullopt;
  std::int64_t reclaimable = 0;  // page cache counts as used but is given up at once; read twice, it is active
  for (const char* list : {"inactive_file", "active_file"})
    reclaimable += number_after(folder / "memory.stat", std::string(files.prefix) + list).value_or(0);
  return std::max<std::int64_t>(0, *limit - std::max<std::int64_t>(0, *usage - reclaimable));
}

/// Cores that the group in `folder` may keep busy on average, none if it sets no limit.
std::optional<double> cores_of_group(const fs::path& folder, int version) {
  std::optional<std::int64_t> quota, period;
  if (version == 2) {
    std::ifstream file(folder / "cpu.max");
    std::int64_t numbers[2] = {};
    if (file >> numbers[0] >> numbers[1]) quota = numbers[0], period = numbers[1];
  } else {
    quota = number_in(folder / "cpu.cfs_quota_us");
    period = number_in(folder / "cpu.cfs_period_us");
  }
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;  // -1: no limit
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

/// Calls visit(version, folder) for the group of this process under `controller`, and for those around it, in version 1
/// and 2. In a container the mount shows the own group as its root.
template <typename Function>
void for_own_groups(const fs::path& root, const std::string& controller, const Function& visit) {
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // NUMBER:CONTROLLERS:PATH
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const int version = controllers == ",," ? 2 : 1;
    if (version == 1 && controllers.find("," + controller + ",") == std::string::npos) continue;
    const fs::path mount = root / "sys/fs/cgroup" / (version == 1 ? controller : "");
    for (fs::path path = fs::path(line.substr(second + 1)).relative_path();; path = path.parent_path()) {
      visit(version, mount / path);
      if (path.empty()) break;
    }
  }
}

/// The group's folder as the kernel numbers it, whatever path a container sees it under.
std::string name_of_group(const fs::path& folder) {
  struct stat status = {};
  if (stat(folder.c_str(), &status) != 0) return folder.string();
  return fmt::format("{}:{}", status.st_dev, status.st_ino);
}

/// How many numbers "0-3,8" names.
int count_of_ranges(const std::string& ranges) {
  std::istringstream parts(ranges);
  int count = 0;
  for (std::string part; std::getline(parts, part, ',');) {
    const std::size_t dash = part.find('-');
    count += dash == std::string::npos ? 1 : std::atoi(part.c_str() + dash + 1) - std::atoi(part.c_str()) + 1;
  }
  return count;
}

constexpr std::size_t kFirstCores = 1024, kMaxCores = std::size_t{1} << 20;

}  // namespace

std::vector<MemoryRoom> memory_rooms(const fs::path& root) {
  const auto kilobytes = number_after(root / "proc/meminfo", "MemAvailable:");
  if (!kilobytes) throw RunError("cannot tell the free memory of this host from /proc/meminfo; give --memory");
  std::vector<MemoryRoom> rooms{{"", *kilobytes * 1024}};
  for_own_groups(root, "memory", [&](int version, const fs::path& folder) {
    const auto left = left_by_group(folder, version == 1 ? kVersion1 : kVersion2);
    if (left) rooms.push_back({name_of_group(folder), *left});
  });
  return rooms;
}

std::int64_t available_host_memory(const fs::path& root) {
  return std::ranges::min(memory_rooms(root), {}, &MemoryRoom::left).left;
}

std::vector<int> own_cores() {
  // The kernel refuses a set that is shorter than its own.
  for (std::size_t most = kFirstCores; most <= kMaxCores; most *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(most), [](cpu_set_t* s) { CPU_FREE(s); });
    const std::size_t bytes = CPU_ALLOC_SIZE(most);
    if (!set) break;
    CPU_ZERO_S(bytes, set.get());
    if (sched_getaffinity(0, bytes, set.get()) != 0) continue;
    std::vector<int> cores;
    for (std::size_t core = 0; core < most; ++core)
      if (CPU_ISSET_S(core, bytes, set.get())) cores.push_back(static_cast<int>(core));
    return cores;
  }
  return {0};
}

int allowed_cores(const fs::path& root) {
  int allowed = 0;
  for_own_groups(root, "cpuset", [&](int version, const fs::path& folder) {
    if (allowed > 0) return;  // the innermost group knows
    std::ifstream file(folder / (version == 2 ? "cpuset.cpus.effective" : "cpuset.effective_cpus"));
    std::string ranges;
    if (file >> ranges) allowed = count_of_ranges(ranges);
  });
  if (allowed <= 0) allowed = static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  const char* of_job = std::getenv("SLURM_CPUS_ON_NODE");
  return of_job != nullptr && std::atoi(of_job) > 0 ? std::min(allowed, std::atoi(of_job)) : allowed;
}

std::optional<int> core_quota(const fs::path& root) {
  std::optional<double> least;
  for_own_groups(root, "cpu", [&](int version, const fs::path& folder) {
    const std::optional<double> cores = cores_of_group(folder, version);
    if (cores) least = std::min(least.value_or(*cores), *cores);
  });
  // A group of version 1 may allow more than an int holds.
  return least ? std::optional(static_cast<int>(std::ceil(std::min<double>(*least, kMaxCores)))) : std::nullopt;
}

std::optional<ProcessLimit> process_limit(const fs::path& root) {
  struct Kind {
    int resource;
    const char* name;
    const char* used;  // key in /proc/self/status
  };
  std::optional<ProcessLimit> tightest;
  for (const Kind& kind : {Kind{RLIMIT_AS, "ulimit -v", "VmSize:"}, Kind{RLIMIT_DATA, "ulimit -d", "VmData:"}}) {
    rlimit limit{};
    if (getrlimit(static_cast<__rlimit_resource_t>(kind.resource), &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
      continue;
    const std::int64_t used = 1024 * number_after(root / "proc/self/status", kind.used).value_or(0);
    const std::int64_t left = std::max<std::int64_t>(0, static_cast<std::int64_t>(limit.rlim_cur) - used);
    if (!tightest || left < tightest->left_bytes) tightest = {kind.name, left};
  }
  return tightest;
}

ProcessMemory process_memory(const fs::path& root) {
  const fs::path status = root / "proc/self/status";
  return {1024 * number_after(status, "VmRSS:").value_or(0), 1024 * number_after(status, "VmHWM:").value_or(0)};
}

int usable_cores(const fs::path& root) {
  const int cores = std::max(1, static_cast<int>(own_cores().size()));
  return std::min(cores, core_quota(root).value_or(cores));
}

}  // namespace lshdp::measure
