// Free memory from /proc/meminfo and the control groups of /proc/self/cgroup.
#include "lshdp/measure/host_memory.h"

#include <algorithm>
#include <charconv>
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
  const char* mount;
  const char* limit;
  const char* usage;
  const char* reclaimable;  // key in memory.stat: page cache that counts as used but is given up at once
};
constexpr GroupFiles kVersion1{"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                               "total_inactive_file"};
constexpr GroupFiles kVersion2{"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};

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

/// The least that the group at `group` and those around it leave. In a container the mount shows the own group as its
/// root.
std::int64_t left_by_groups(const fs::path& root, const GroupFiles& files, const std::string& group,
                            std::int64_t available) {
  const fs::path mount = root / files.mount;
  for (fs::path path = fs::path(group).relative_path();; path = path.parent_path()) {
    available = std::min(available, left_by_group(mount / path, files).value_or(available));
    if (path.empty()) return available;
  }
}

}  // namespace

std::int64_t available_host_memory(const fs::path& root) {
  const auto kilobytes = number_after(root / "proc/meminfo", "MemAvailable:");
  if (!kilobytes) throw RunError("cannot tell the free memory of this host from /proc/meminfo; give --memory");
  std::int64_t available = *kilobytes * 1024;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // NUMBER:CONTROLLERS:PATH
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",",
                      path = line.substr(second + 1);
    if (controllers == ",,") available = left_by_groups(root, kVersion2, path, available);
    if (controllers.find(",memory,") != std::string::npos) available = left_by_groups(root, kVersion1, path, available);
  }
  return available;
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

}  // namespace lshdp::measure
