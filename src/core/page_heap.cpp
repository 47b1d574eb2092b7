// Best fit over ranges of pages that join again.
#include "page_heap.h"

#include <algorithm>

#include <sys/mman.h>
#include <unistd.h>

namespace lshdp {
namespace {

std::size_t whole_pages(std::size_t bytes) {
  static const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

void* new_pages(std::size_t bytes) {
  void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return pages == MAP_FAILED ? nullptr : pages;
}

void give_back(std::uintptr_t begin, std::size_t bytes) {
  munmap(reinterpret_cast<void*>(begin), bytes);  // NOLINT(performance-no-int-to-ptr): addresses are kept in order
}

}  // namespace

void PageHeap::insert(Address begin, std::size_t bytes) {
  free_.emplace(begin, bytes);
  free_by_size_.emplace(bytes, begin);
  free_bytes_ += static_cast<std::int64_t>(bytes);
}

void PageHeap::erase(Address begin, std::size_t bytes) {
  free_.erase(begin);
  free_by_size_.erase({bytes, begin});
  free_bytes_ -= static_cast<std::int64_t>(bytes);
}

/// 0 if no free range is large enough.
PageHeap::Address PageHeap::take_free(std::size_t bytes) {
  const auto best = free_by_size_.lower_bound({bytes, 0});
  if (best == free_by_size_.end()) return 0;
  const auto [size, begin] = *best;
  erase(begin, size);
  if (size > bytes) insert(begin + bytes, size - bytes);
  return begin;
}

/// Gives pages back until no more are free than that: the ends of the largest ranges, which are most likely to be whole
/// again soon.
void PageHeap::release(std::int64_t most_free) {
  while (free_bytes_ > std::max<std::int64_t>(most_free, 0)) {
    const auto [size, begin] = *std::prev(free_by_size_.end());
    const std::size_t surplus =
        whole_pages(static_cast<std::size_t>(free_bytes_ - std::max<std::int64_t>(most_free, 0)));
    const std::size_t gone = std::min(size, surplus);
    erase(begin, size);
    if (size > gone) insert(begin, size - gone);
    give_back(begin + (size - gone), gone);
  }
}

void* PageHeap::allocate(std::size_t bytes, std::int64_t most_free) {
  const std::size_t size = whole_pages(bytes);
  const std::scoped_lock lock(mutex_);
  if (const Address found = take_free(size)) {
    release(most_free);
    return reinterpret_cast<void*>(found);  // NOLINT(performance-no-int-to-ptr)
  }
  release(most_free);
  void* pages = new_pages(size);
  if (pages == nullptr && free_bytes_ > 0) {
    release(0);
    pages = new_pages(size);
  }
  return pages;
}

void PageHeap::deallocate(void* piece, std::size_t bytes, bool keep) {
  auto begin = reinterpret_cast<Address>(piece);
  std::size_t size = whole_pages(bytes);
  if (!keep) return give_back(begin, size);
  const std::scoped_lock lock(mutex_);
  const auto after = free_.lower_bound(begin);
  if (after != free_.begin()) {
    const auto [low, length] = *std::prev(after);
    if (low + length == begin) {
      erase(low, length);
      begin = low;
      size += length;
    }
  }
  if (const auto next = free_.find(begin + size); next != free_.end()) {
    const auto [high, length] = *next;
    erase(high, length);
    size += length;
  }
  insert(begin, size);
}

std::int64_t PageHeap::free_bytes() const {
  const std::scoped_lock lock(mutex_);
  return free_bytes_;
}

}  // namespace lshdp
