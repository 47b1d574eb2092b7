// Each rank's share of what ranks of one machine have together: its cores, its memory, its threads.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/comm/hosts.h"
#include "lshdp/measure/host_memory.h"

namespace lshdp::measure {

/// What one rank finds on its machine.
struct RankRoom {
  std::string machine;             // comm::Hosts::machines
  std::string node;                // comm::Hosts::nodes
  std::vector<int> cores;          // own_cores()
  std::optional<int> quota;        // core_quota()
  std::vector<MemoryRoom> memory;  // memory_rooms()
  bool on_host = true;             // its tensors lie in host memory
};

/// By rank. All ranks must call it; `on_host`: this rank's tensors lie in host memory. Throws AgreedError where a host
/// does not tell.
std::vector<RankRoom> gather_rooms(comm::Communicator& communicator, const comm::Hosts& hosts, bool on_host);

/// Cores of `rank`: of each core in its mask, its part among the ranks of the machine that have it in theirs, and no
/// more than its part of the quota among the ranks of the node. At least 1.
int core_share(const std::vector<RankRoom>& rooms, std::size_t rank);
/// Cores of `rank`'s node that are in the mask of any of its ranks.
int bound_cores(const std::vector<RankRoom>& rooms, std::size_t rank);
/// Cores that all ranks of `rank`'s machine can keep busy together.
int machine_cores(const std::vector<RankRoom>& rooms, std::size_t rank);

/// Memory that some ranks share.
struct MemoryDomain {
  std::string name;             // of the node of its first rank
  std::int64_t free_bytes = 0;  // of all its ranks together
  std::int64_t ranks = 0;       // whose tensors lie there
};
/// By rank: all of the machine's memory, or the control group's that leaves the rank less.
std::vector<MemoryDomain> memory_domains(const std::vector<RankRoom>& rooms);

/// What OMP_NUM_THREADS says, of a list the first number; none if it is not there or no positive number.
std::optional<int> threads_of_environment();

}  // namespace lshdp::measure
