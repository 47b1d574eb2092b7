// PageHeap: large pieces of memory in whole pages, whose free pages are used again or given back to the kernel.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <utility>

namespace lshdp {

/// What the C library does not offer at once: freed memory is handed out again without the kernel clearing it page by
/// page, in pieces of any size (neighbours join), and yet no more of it stays with the process than the caller allows.
/// Its functions may be called from any thread.
class PageHeap {
 public:
  /// `bytes` at a page's begin, from the free range that fits best, or new. Before new pages are taken, free ones
  /// beyond `most_free` go back to the kernel. Null if the kernel gives no more.
  void* allocate(std::size_t bytes, std::int64_t most_free);
  /// `bytes` as allocate() was asked. `keep`: for later pieces; false: back to the kernel.
  void deallocate(void* piece, std::size_t bytes, bool keep);

  std::int64_t free_bytes() const;

 private:
  using Address = std::uintptr_t;
  Address take_free(std::size_t bytes);
  void insert(Address begin, std::size_t bytes);
  void erase(Address begin, std::size_t bytes);
  void release(std::int64_t most_free);

  mutable std::mutex mutex_;
  std::map<Address, std::size_t> free_;                     // ranges by address, never adjacent
  std::set<std::pair<std::size_t, Address>> free_by_size_;  // the same
  std::int64_t free_bytes_ = 0;
};

}  // namespace lshdp
