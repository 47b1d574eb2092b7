// HostArena: one piece of host memory, outside any device budget, that tensors are cut from.
#pragma once
#include <cstdint>
#include <memory>

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include "lshdp/core/device.h"

namespace lshdp::parallel {

/// Memory of the host for what a device cannot hold, or copies to and fro: mapped once, zero, never grown. On CPU ranks
/// no MemoryBudget counts it. Tensors cut from it keep it alive.
class HostArena {
 public:
  /// Throws RunError if the host does not give `bytes`.
  explicit HostArena(std::int64_t bytes);
  /// Pinned for that device.
  HostArena(std::int64_t bytes, ComputeDevice& device);
  /// A 1-D tensor of `count` zeros that begins at a multiple of kHostAlignment bytes. Throws std::logic_error if the
  /// arena is used up.
  at::Tensor take(std::int64_t count, at::ScalarType type);
  std::int64_t bytes() const { return bytes_; }

  static constexpr std::int64_t kHostAlignment = 64;
  /// What take(count, type) uses of an arena.
  static std::int64_t bytes_of(std::int64_t count, at::ScalarType type);

 private:
  std::int64_t bytes_, taken_ = 0;
  std::shared_ptr<std::byte> memory_;  // with its pin
};

}  // namespace lshdp::parallel
