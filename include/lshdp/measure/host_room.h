// Whether the memory of every host holds what the stores of its ranks keep there.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/measure/machine_share.h"
#include "lshdp/measure/rank_setup.h"
#include "lshdp/model/model.h"

namespace lshdp::measure {

/// Bytes of host memory that the ranks of one host want together, and those the host has free.
struct HostRoom {
  std::string host;
  std::int64_t needed_bytes = 0;
  std::int64_t free_bytes = 0;
};

/// One per host, in the order of their first ranks. `store_bytes` and `free_bytes` (bytes each rank finds free on its
/// host): by rank.
std::vector<HostRoom> host_rooms(const std::vector<std::string>& hosts, const std::vector<std::int64_t>& store_bytes,
                                 const std::vector<std::int64_t>& free_bytes);

/// The same of memory_domains() and what each rank wants, on every rank. All ranks must call it.
std::vector<HostRoom> gather_host_rooms(comm::Communicator& communicator, const std::vector<MemoryDomain>& domains,
                                        std::int64_t store_bytes);

/// Throws UsageError naming a host that needs more than it has free, and what would help: the kernel would end a
/// process without a word once the pages are touched.
void require_host_room(const std::vector<HostRoom>& rooms, const RankSetup& setup);

/// Both, for the stores that make_store() would make of such ranks. `alone`: of ranks that each rehearse with a node's
/// memory of their own, as they do wherever memory is probed; else of all together. Warns where stores, budgets and
/// processes together are more than a host has free. All ranks must call it; throws AgreedError.
void require_host_room(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup, bool alone);

/// What this rank's process may take in all, for the log: "memory of a rank: at most 600 MiB of tensors (--memory),
/// about 190 MiB for its process beside them, and 80 MiB that lsdp keeps in the memory of its host". All ranks must
/// call it.
std::string describe_memory(comm::Communicator& communicator, const model::Model& model, const RankSetup& setup);

}  // namespace lshdp::measure
