// Tensors cut from mapped pages.
#include "layout/host_arena.h"

#include <stdexcept>

#include <ATen/ATen.h>

#include "lshdp/core/host_pages.h"

namespace lshdp::parallel {

HostArena::HostArena(std::int64_t bytes) : bytes_(bytes), memory_(map_host_pages(bytes)) {}

HostArena::HostArena(std::int64_t bytes, ComputeDevice& device)
    : bytes_(bytes), memory_(map_host_pages(bytes, device)) {}

std::int64_t HostArena::bytes_of(std::int64_t count, at::ScalarType type) {
  const std::int64_t bytes = count * static_cast<std::int64_t>(at::elementSize(type));
  return (bytes + kHostAlignment - 1) / kHostAlignment * kHostAlignment;
}

at::Tensor HostArena::take(std::int64_t count, at::ScalarType type) {
  const std::int64_t bytes = bytes_of(count, type);
  if (bytes > bytes_ - taken_) throw std::logic_error("a host arena is used up");
  if (count == 0) return at::empty({0}, type);
  std::byte* begin = memory_.get() + taken_;
  taken_ += bytes;
  return at::from_blob(
      begin, {count}, [memory = memory_](void*) {}, type);
}

}  // namespace lshdp::parallel
