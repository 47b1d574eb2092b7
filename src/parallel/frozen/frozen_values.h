// FrozenValues: the parameters that are not trained, of the blocks that a rank holds.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "frozen/frozen_layout.h"
#include "layout/host_arena.h"
#include "lshdp/core/device.h"
#include "lshdp/model/model.h"
#include "lshdp/model/quantized.h"
#include "lshdp/parallel/store.h"
#include "lshdp/parallel/store_options.h"

namespace lshdp::parallel {

/// ddp, fsdp: on the device. lsdp: in host memory, of the blocks from strategy.resident on; what others borrow stays on
/// the device. What is quantised (Parameter::held) lies on the device in its few bits. Slots are filled anew each time,
/// a block always in the same place: what autograd keeps of a forward pass finds its parameters there in backward.
class FrozenValues {
 public:
  /// All zero. `model` must outlive it.
  FrozenValues(const model::Model& model, const StoreOptions& options);
  ~FrozenValues();
  FrozenValues(const FrozenValues&) = delete;
  FrozenValues& operator=(const FrozenValues&) = delete;

  /// `values` of a block as a BlockValues gives them; those that are trained are passed over.
  void take(std::size_t block, const std::vector<at::Tensor>& values);
  /// StateAccess::frozen_state().
  std::vector<at::Tensor> state(std::size_t block);
  /// From here on the device finds the block's frozen parameters in their place.
  void acquire(std::size_t block);
  void release(std::size_t block);
  /// Of model.blocks[block]->parameters(), on the device, between acquire and release of the block that uses it.
  const at::Tensor& value(std::size_t block, std::size_t parameter) const { return used_[block][parameter]; }

  /// Copies from host memory.
  HostLink copied() const { return copied_; }
  std::int64_t host_bytes() const { return host_memory_.bytes(); }

 private:
  struct Slot {
    at::Tensor memory = {};                  // 1-D, on the device
    std::optional<std::size_t> holder = {};  // the block whose values it has, or will have
    Event filled = {}, free = {};            // the copy is done; the computation that read it last is
    bool in_use = false;
  };
  /// What a block's values come from.
  struct Source {
    at::Tensor resident;                                             // 1-D, on the device
    at::Tensor streamed;                                             // 1-D, in host memory
    std::vector<std::optional<model::QuantizedTensor>> quantized{};  // by parameter
    std::vector<at::Tensor> expanded{};  // where their values go: the slot's memory, but no tensor that autograd keeps
  };

  void make_source(std::size_t block);
  void make_views(std::size_t block);
  at::Tensor part_of(const at::Tensor& memory, std::size_t block, std::size_t parameter) const;
  bool wants_slot(std::size_t block) const { return layout_.block(block).held && layout_.block(block).in_slot > 0; }
  Slot& slot_of(std::size_t block) { return slots_[layout_.slot_of(block)]; }
  void fill(std::size_t block);
  void expand(std::size_t block);
  void fill_next(std::size_t block);

  const model::Model& model_;
  std::shared_ptr<ComputeDevice> device_;
  at::ScalarType type_;
  FrozenLayout layout_;
  HostArena host_memory_;
  std::vector<Source> sources_;                // by block
  std::vector<std::vector<at::Tensor>> used_;  // by block and parameter: parts of what is resident, or of a slot
  std::vector<Slot> slots_;
  std::size_t last_block_ = 0;
  HostLink copied_;
};

}  // namespace lshdp::parallel
