// FrozenLayout: where each parameter that is not trained lies.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include <c10/core/ScalarType.h>

#include "lshdp/model/model.h"
#include "lshdp/parallel/store_memory.h"
#include "lshdp/parallel/store_options.h"

namespace lshdp::parallel {

/// trained: elsewhere. resident: on the device, in the compute type. streamed: in host memory, in the compute type.
/// quantized: on the device, in few bits. The last two are in the compute type in a slot while they are wanted.
enum class FrozenPlace : std::uint8_t { trained, resident, streamed, quantized };

/// One block's, in elements of the compute type.
struct FrozenBlock {
  bool held = false;                 // by this rank
  std::vector<FrozenPlace> places;   // by parameter
  std::vector<std::int64_t> begins;  // by parameter: among those that are resident, or in the slot
  std::int64_t resident = 0, in_slot = 0;
  std::int64_t streamed = 0;  // of those in the slot, which they begin
  std::int64_t quantized_bytes = 0;
};

/// From sizes alone. Blocks that want a slot take turns in two, each always in the same one.
class FrozenLayout {
 public:
  FrozenLayout(const model::Model& model, const StoreOptions& options);

  const FrozenBlock& block(std::size_t index) const { return blocks_[index]; }
  std::size_t size() const { return blocks_.size(); }
  /// Elements of each slot; none if no block wants one.
  const std::vector<std::int64_t>& slots() const { return slots_; }
  /// Of a block that wants one.
  std::size_t slot_of(std::size_t block) const { return slot_of_[block]; }
  /// Bytes in host memory.
  std::int64_t host_bytes() const;
  StoreMemory memory() const;

 private:
  at::ScalarType type_;
  std::vector<FrozenBlock> blocks_;
  std::vector<std::size_t> slot_of_;
  std::vector<std::int64_t> slots_;
};

}  // namespace lshdp::parallel
