// Buckets into slots, in turn.
#include "fsdp/slot_assignment.h"

#include <algorithm>

namespace lshdp::parallel {

SlotAssignment assign_slots(const BlockLayout& layout, std::size_t blocks, std::size_t shared) {
  const std::size_t buckets = layout.buckets().size();
  SlotAssignment assignment{std::vector<std::size_t>(buckets), std::vector<std::int64_t>(shared),
                            std::vector<bool>(buckets)};
  for (std::size_t block = 0; block < blocks; ++block) {
    for (const std::size_t index : layout.buckets_of(block).subspan(1)) assignment.own_slot[index] = true;
  }
  std::size_t turn = 0;
  for (std::size_t index = 0; index < buckets; ++index) {
    const std::int64_t count = layout.buckets()[index].count;
    if (assignment.own_slot[index]) {
      assignment.slot_of[index] = assignment.counts.size();
      assignment.counts.push_back(count);
    } else {
      assignment.slot_of[index] = turn++ % shared;
      std::int64_t& largest = assignment.counts[assignment.slot_of[index]];
      largest = std::max(largest, count);
    }
  }
  return assignment;
}

std::vector<std::int64_t> scratch_of_slots(const SlotAssignment& assignment, const std::vector<comm::Shards>& shards,
                                           comm::DataType type, int rank) {
  std::vector<std::int64_t> bytes(assignment.counts.size());
  for (std::size_t index = 0; index < shards.size(); ++index) {
    std::int64_t& most = bytes[assignment.slot_of[index]];
    most = std::max(most, static_cast<std::int64_t>(comm::scratch_bytes(shards[index], type, rank)));
  }
  return bytes;
}

}  // namespace lshdp::parallel
