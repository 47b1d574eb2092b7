// SlotAssignment: which buckets of a fully sharded store share a slot of memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "layout/block_layout.h"
#include "lshdp/comm/communicator.h"

namespace lshdp::parallel {

// Slots that are shared: one in use and one on its way.
inline constexpr std::size_t kParameterSlots = 2, kGradientSlots = 2;

/// Which buckets share a slot of memory.
struct SlotAssignment {
  std::vector<std::size_t> slot_of;  // by bucket
  std::vector<std::int64_t> counts;  // by slot: elements of its largest bucket
  std::vector<bool> own_slot;        // by bucket: nobody shares its slot
};

/// Consecutive buckets take turns in `shared` slots. Those that other buckets borrow from have a slot of their own:
/// they are wanted together with any of them.
SlotAssignment assign_slots(const BlockLayout& layout, std::size_t blocks, std::size_t shared);
/// By slot: bytes that the sums of its buckets are received into.
std::vector<std::int64_t> scratch_of_slots(const SlotAssignment& assignment, const std::vector<comm::Shards>& shards,
                                           comm::DataType type, int rank);

}  // namespace lshdp::parallel
