// HostInputs: what recomputation keeps of a forward pass, block inputs, waits in host memory for backward.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "layout/host_arena.h"
#include "lshdp/core/device.h"

namespace lshdp::parallel {

/// In forward each block's input leaves while the next block computes; in backward it comes back one block ahead. Host
/// memory is taken at the first pass, and again where a pass has larger inputs.
class HostInputs {
 public:
  /// `device` must outlive it.
  HostInputs(ComputeDevice& device, std::size_t blocks) : device_(device), places_(blocks) {}

  /// The block has used its input in forward, or will by what was given to the device so far.
  void put(std::size_t block, const at::Tensor& given);
  /// Begins to bring it back. The block must have been put.
  void prefetch(std::size_t block);
  /// The input on the device, for what is given to it from now on.
  at::Tensor take(std::size_t block);
  /// Host memory taken so far.
  std::int64_t bytes() const;

 private:
  struct Place {
    std::optional<HostArena> arena;
    at::Tensor memory;  // of the arena, flat
    std::vector<std::int64_t> shape;
    at::Tensor leaving, arriving;  // on the device
    Event left, arrived;
  };
  static at::Tensor make_room(Place& place, const at::Tensor& input, ComputeDevice& device);
  void let_go(std::size_t block);

  ComputeDevice& device_;
  std::vector<Place> places_;
  std::optional<std::size_t> last_;  // the one put last: it may still be leaving
};

}  // namespace lshdp::parallel
