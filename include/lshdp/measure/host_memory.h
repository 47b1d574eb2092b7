// What memory and cores a host has to give: the kernel's figures and the limits of the control groups the process is
// in.
#pragma once
#include <cstdint>
#include <filesystem>

namespace lshdp::measure {

/// The share of a host's free memory that its ranks take together where --memory does not say: the rest is for
/// libraries, which MemoryBudget does not see, and for the page cache that feeds the data loader.
inline constexpr double kMemoryShare = 0.8;

/// Bytes a process may still take on this host: MemAvailable of /proc/meminfo, and no more than what each memory
/// control group (v1 or v2) around the process leaves. `root` stands before all paths. Throws RunError if /proc/meminfo
/// does not tell.
std::int64_t available_host_memory(const std::filesystem::path& root = "/");

/// Cores this process may keep busy: those of its affinity mask, and no more than the quota of each CPU control group
/// (v1 or v2) around it, rounded up. At least 1.
int usable_cores(const std::filesystem::path& root = "/");

}  // namespace lshdp::measure
