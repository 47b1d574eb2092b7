// Host memory by mmap: whole pages, zero when first touched.
#include "lshdp/parallel/host_arena.h"

#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"

namespace lshdp::parallel {
namespace {

std::shared_ptr<std::byte> map(std::int64_t bytes) {
  if (bytes == 0) return nullptr;
  const auto size = static_cast<std::size_t>(bytes);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw RunError(
        fmt::format("the host gives no {} for shards: {}", format_size(bytes), std::generic_category().message(errno)));
  }
  return {static_cast<std::byte*>(memory), [size](std::byte* begin) { ::munmap(begin, size); }};
}

}  // namespace

HostArena::HostArena(std::int64_t bytes) : bytes_(bytes), memory_(map(bytes)) {}

HostArena::HostArena(std::int64_t bytes, ComputeDevice& device) : HostArena(bytes) {
  std::shared_ptr<void> pin = device.pin(memory_.get(), bytes);
  if (!pin) return;
  std::byte* begin = memory_.get();
  // The pin goes before the memory.
  memory_ = {begin, [memory = std::move(memory_), pin = std::move(pin)](std::byte*) mutable {
               pin.reset();
               memory.reset();
             }};
}

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
