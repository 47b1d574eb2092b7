// A counting allocator around LibTorch's own: the size and the owner of each piece stand in a header before it.
#include "lshdp/core/memory.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <limits>
#include <new>
#include <stdexcept>
#include <utility>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <fmt/format.h>
#include <malloc.h>

#include "lshdp/core/device.h"
#include "lshdp/core/text.h"
#include "page_heap.h"

namespace lshdp {

namespace {

/// Shared with the pieces handed out, which may outlive the counter.
struct Counters {
  static constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();
  std::atomic<std::int64_t> used{0}, peak{0}, limit{kNoLimit}, needed{0};

  /// Counts `bytes`, or returns false and counts nothing if they go over the limit.
  bool take(std::int64_t bytes) {
    std::int64_t before = used.load(std::memory_order_relaxed);
    do {
      if (bytes > limit.load(std::memory_order_relaxed) - before) {
        needed = before + bytes;
        return false;
      }
    } while (!used.compare_exchange_weak(before, before + bytes, std::memory_order_relaxed));
    std::int64_t highest = peak.load(std::memory_order_relaxed);
    while (highest < before + bytes &&
           !peak.compare_exchange_weak(highest, before + bytes, std::memory_order_relaxed)) {
    }
    return true;
  }

  void give_back(std::int64_t bytes) { used.fetch_sub(bytes, std::memory_order_relaxed); }
};

using SharedCounters = std::shared_ptr<Counters>;

[[noreturn]] void refuse(const std::string& message) {
  throw c10::OutOfMemoryError({__func__, __FILE__, __LINE__}, message);
}

/// Stands before each piece; as long as LibTorch's alignment, so that the piece keeps it.
struct alignas(c10::gAlignment) Header {
  void* base = nullptr;  // what the heap or the inner allocator gave
  std::int64_t bytes = 0;
  SharedCounters counters;  // none if the piece was made while no budget was installed
  bool in_pages = false;    // of the PageHeap
};

/// Pieces from this size on come in whole pages. Smaller ones are few bytes in all, and many.
constexpr std::size_t kInPages = 128 << 10;

c10::Allocator* inner_allocator() { return c10::GetDefaultCPUAllocator(); }

/// Tensors may outlive everything else.
PageHeap& page_heap() {
  static auto* heap = new PageHeap;
  return *heap;
}

std::size_t with_header(std::int64_t bytes) { return static_cast<std::size_t>(bytes) + sizeof(Header); }

void free_piece(void* data) {
  if (data == nullptr) return;
  auto* header = static_cast<Header*>(data) - 1;
  void* base = header->base;
  const bool counted = header->counters != nullptr, in_pages = header->in_pages;
  const std::size_t size = with_header(header->bytes);
  const SharedCounters counters = std::move(header->counters);
  header->~Header();
  if (!in_pages)
    inner_allocator()->raw_deallocate(base);
  else
    page_heap().deallocate(base, size, counted);
  if (counted) counters->give_back(static_cast<std::int64_t>(size - sizeof(Header)));
}

/// What the limit leaves free pages beside the tensors in use: in use and kept together stay within it.
std::int64_t most_free(const SharedCounters& counters) {
  if (!counters) return Counters::kNoLimit;
  const std::int64_t limit = counters->limit, used = counters->used;
  return limit == Counters::kNoLimit ? limit : std::max<std::int64_t>(0, limit - used);
}

/// Memory for a header and `bytes` after it; null if the host has no more.
void* allocate_with_header(std::int64_t bytes, bool in_pages, const SharedCounters& counters) {
  if (in_pages) return page_heap().allocate(with_header(bytes), most_free(counters));
  try {
    return inner_allocator()->raw_allocate(with_header(bytes));
  } catch (const c10::Error&) {
    return nullptr;
  }
}

/// HostMemoryScopes that this thread is in.
int& host_scopes() {
  thread_local int scopes = 0;
  return scopes;
}

/// The host having no more is reported as a refusal of ours is.
[[noreturn]] void refuse_for_the_host(const SharedCounters& counters, std::int64_t bytes) {
  if (counters) {
    counters->give_back(bytes);
    counters->needed = counters->used + bytes;
  }
  refuse(fmt::format("the host has no more memory for {}", format_size(bytes)));
}

class CountingAllocator final : public c10::Allocator {
 public:
  void set_counters(SharedCounters counters) { counters_ = std::move(counters); }
  bool in_use() const { return counters_ != nullptr; }

  c10::DataPtr allocate(std::size_t size) override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (size == 0) return {nullptr, nullptr, &free_piece, cpu};
    const auto bytes = static_cast<std::int64_t>(size);
    const SharedCounters counters = host_scopes() > 0 ? nullptr : counters_;
    if (counters && !counters->take(bytes)) {
      refuse(fmt::format("out of memory: {} more than the {} in use go over the budget of {}", format_size(bytes),
                         format_size(counters->used), format_size(counters->limit)));
    }
    const bool in_pages = size >= kInPages;
    void* base = allocate_with_header(bytes, in_pages, counters);
    if (base == nullptr) refuse_for_the_host(counters, bytes);
    auto* header = new (base) Header{base, bytes, counters, in_pages};
    return {header + 1, header + 1, &free_piece, cpu};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &free_piece; }
  void copy_data(void* dest, const void* src, std::size_t count) const override { default_copy_data(dest, src, count); }

 private:
  SharedCounters counters_;
};

/// The one allocator of this kind. LibTorch demands that allocators live as long as the process, since tensors point to
/// them.
CountingAllocator& counting_allocator() {
  static auto* allocator = new CountingAllocator;
  return *allocator;
}

class HostMemoryCounter final : public MemoryCounter {
 public:
  HostMemoryCounter() {
    if (counting_allocator().in_use()) throw std::logic_error("a MemoryBudget is already installed");
    counting_allocator().set_counters(counters_);
    c10::SetCPUAllocator(&counting_allocator(), 1);
  }
  ~HostMemoryCounter() override {
    counting_allocator().set_counters(nullptr);
    c10::SetCPUAllocator(inner_allocator(), 1);
  }
  HostMemoryCounter(const HostMemoryCounter&) = delete;
  HostMemoryCounter& operator=(const HostMemoryCounter&) = delete;

  std::int64_t used() const override { return counters_->used; }
  std::int64_t peak() const override { return counters_->peak; }
  void reset_peak() override { counters_->peak = counters_->used.load(); }
  std::optional<std::int64_t> limit() const override {
    const std::int64_t limit = counters_->limit;
    return limit == Counters::kNoLimit ? std::nullopt : std::optional(limit);
  }
  void set_limit(std::optional<std::int64_t> limit_bytes) override {
    counters_->limit = limit_bytes.value_or(Counters::kNoLimit);
  }
  std::int64_t needed() const override { return counters_->needed; }

 private:
  const SharedCounters counters_ = std::make_shared<Counters>();
};

}  // namespace

std::unique_ptr<MemoryCounter> make_host_memory_counter() { return std::make_unique<HostMemoryCounter>(); }

MemoryBudget::MemoryBudget(std::optional<std::int64_t> limit_bytes) : counter_(make_host_memory_counter()) {
  set_limit(limit_bytes);
}

MemoryBudget::MemoryBudget(ComputeDevice& device, std::optional<std::int64_t> limit_bytes)
    : counter_(device.count_memory()) {
  set_limit(limit_bytes);
}

void keep_freed_memory() {
  mallopt(M_MMAP_MAX, 0);         // large pieces come from the heap as well: a mapping of its own is new at each use
  mallopt(M_TRIM_THRESHOLD, -1);  // the heap never shrinks
}

HostMemoryScope::HostMemoryScope() { ++host_scopes(); }
HostMemoryScope::~HostMemoryScope() { --host_scopes(); }

bool is_out_of_memory(const std::exception& error) {
  return dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
         dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
}

}  // namespace lshdp
