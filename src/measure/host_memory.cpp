// Free memory from /proc/meminfo, cores from the affinity mask, and both from the control groups of /proc/self/cgroup.
#include "lshdp/measure/host_memory.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>
#include <sstream>

#include <fmt/format.h>
#include <sched.h>

#include "lshdp/core/error.h"

namespace lshdp::measure {
namespace {

namespace fs = std::filesystem;

/// Names of the files in which one version of control groups keeps its figures.
struct GroupFiles {
  const char* limit;
  const char* usage;
  const char* reclaimable;  // key in memory.stat: page cache that counts as used but is given up at once
};
constexpr GroupFiles kVersion1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
constexpr GroupFiles kVersion2{"memory.max", "memory.current", "inactive_file"};

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
  const std::int64_t reclaimable = number_after(folder / "memory.stat", files.reclaimable).value_or(0);
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

}  // namespace

std::int64_t available_host_memory(const fs::path& root) {
  const auto kilobytes = number_after(root / "proc/meminfo", "MemAvailable:");
  if (!kilobytes) throw RunError("cannot tell the free memory of this host from /proc/meminfo; give --memory");
  std::int64_t available = *kilobytes * 1024;
  for_own_groups(root, "memory", [&](int version, const fs::path& folder) {
    available = std::min(available, left_by_group(folder, version == 1 ? kVersion1 : kVersion2).value_or(available));
  });
  return available;
}

int usable_cores(const fs::path& root) {
  cpu_set_t set;
  CPU_ZERO(&set);
  double cores = sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
  for_own_groups(root, "cpu", [&](int version, const fs::path& folder) {
    cores = std::min(cores, cores_of_group(folder, version).value_or(cores));
  });
  return static_cast<int>(std::ceil(cores));
}

}  // namespace lshdp::measure
