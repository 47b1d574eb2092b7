// What memory and cores a host has to give: the kernel's figures and the limits of the control groups the process is
// in.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lshdp::measure {

/// The share of a host's free memory that its ranks take together where --memory does not say: the rest is for
/// libraries, which MemoryBudget does not see, and for the page cache that feeds the data loader.
inline constexpr double kMemoryShare = 0.8;

/// One bound on the memory of this process, which other processes may share.
struct MemoryRoom {
  std::string name;  // "" for all of the machine, or what tells a control group from others
  std::int64_t left = 0;
};

/// MemAvailable of /proc/meminfo, and what each memory control group (v1 or v2) around the process leaves. The
/// page cache counts as free: it is given up on demand. `root` stands before all paths. Throws RunError if
/// /proc/meminfo does not tell.
std::vector<MemoryRoom> memory_rooms(const std::filesystem::path& root = "/");

/// Bytes a process may still take on this host: the least of its memory_rooms().
std::int64_t available_host_memory(const std::filesystem::path& root = "/");

/// Bytes this process may still take under its own limits of address space and data (`ulimit -v`, `ulimit -d`); none if
/// there are none.
struct ProcessLimit {
  std::string name;  // "ulimit -v"
  std::int64_t left_bytes = 0;
};
std::optional<ProcessLimit> process_limit(const std::filesystem::path& root = "/");

/// Bytes of this process that are in memory: now, and the most so far. 0 where the kernel does not tell.
struct ProcessMemory {
  std::int64_t resident_bytes = 0;
  std::int64_t peak_bytes = 0;
};
ProcessMemory process_memory(const std::filesystem::path& root = "/");

/// What a process takes beside tensors once it works: code of libraries that is read as it is used, their scratch
/// memory, small pieces, buffers of MPI. By measurement (results/decisions.md); it comes on top of what a process has
/// when it is set up.
inline constexpr std::int64_t kProcessGrowth = std::int64_t{96} << 20;

/// The numbers of the cores in this process's affinity mask.
std::vector<int> own_cores();

/// How many cores there are for a process that nobody has bound: those of its CPU set (v1 or v2), or of the machine,
/// and no more than Slurm gave the job there.
int allowed_cores(const std::filesystem::path& root = "/");

/// How many cores the CPU control groups (v1 or v2) around this process let it keep busy, rounded up; none: no limit.
std::optional<int> core_quota(const std::filesystem::path& root = "/");

/// Cores this process may keep busy: own_cores(), and no more than core_quota(). At least 1.
int usable_cores(const std::filesystem::path& root = "/");

}  // namespace lshdp::measure
