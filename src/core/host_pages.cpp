// Host memory by mmap.
#include "lshdp/core/host_pages.h"

#include <cerrno>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <sys/mman.h>

#include "lshdp/core/error.h"
#include "lshdp/core/text.h"

namespace lshdp {

std::shared_ptr<std::byte> map_host_pages(std::int64_t bytes) {
  if (bytes == 0) return nullptr;
  const auto size = static_cast<std::size_t>(bytes);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw RunError(
        fmt::format("the host gives no {} of memory: {}", format_size(bytes), std::generic_category().message(errno)));
  }
  return {static_cast<std::byte*>(memory), [size](std::byte* begin) { ::munmap(begin, size); }};
}

std::shared_ptr<std::byte> map_host_pages(std::int64_t bytes, ComputeDevice& device) {
  std::shared_ptr<std::byte> pages = map_host_pages(bytes);
  std::shared_ptr<void> pin = bytes > 0 ? device.pin(pages.get(), bytes) : nullptr;
  if (!pin) return pages;
  std::byte* begin = pages.get();
  // The pin goes before the pages.
  return {begin, [pages = std::move(pages), pin = std::move(pin)](std::byte*) mutable {
            pin.reset();
            pages.reset();
          }};
}

}  // namespace lshdp
