// Statistics and limits of the caching allocator.
#include "cuda_memory.h"

#include <algorithm>

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

namespace lshdp {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

struct DeviceBytes {
  std::size_t free = 0, total = 0;
};

DeviceBytes device_bytes(int index) {
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(index));
  DeviceBytes bytes;
  C10_CUDA_CHECK(cudaMemGetInfo(&bytes.free, &bytes.total));
  return bytes;
}

class CudaMemoryCounter final : public MemoryCounter {
 public:
  explicit CudaMemoryCounter(int index)
      : index_(static_cast<c10::DeviceIndex>(index)), total_(static_cast<std::int64_t>(device_bytes(index).total)) {}
  ~CudaMemoryCounter() override { allocator::setMemoryFraction(1, index_); }

  std::int64_t used() const override { return allocated().current; }
  // What the limit holds for: more than tensors asked for, by what lies between them.
  std::int64_t peak() const override { return allocator::getDeviceStats(index_).reserved_bytes[0].peak; }
  void reset_peak() override {
    allocator::emptyCache();  // what earlier shapes left in pieces would count against the limit
    allocator::resetPeakStats(index_);
  }
  void set_limit(std::optional<std::int64_t> limit_bytes) override {
    limit_ = limit_bytes;
    const double fraction = static_cast<double>(limit_bytes.value_or(total_)) / static_cast<double>(total_);
    allocator::setMemoryFraction(std::min(1.0, fraction), index_);
  }
  std::optional<std::int64_t> limit() const override { return limit_; }
  // The allocator does not tell how much a refused request was: more than the limit is all that is known.
  std::int64_t needed() const override { return std::min(limit_.value_or(total_), total_); }

 private:
  c10::CachingAllocator::Stat allocated() const { return allocator::getDeviceStats(index_).allocated_bytes[0]; }

  c10::DeviceIndex index_;
  std::int64_t total_;
  std::optional<std::int64_t> limit_;
};

}  // namespace

std::unique_ptr<MemoryCounter> make_cuda_memory_counter(int index) {
  return std::make_unique<CudaMemoryCounter>(index);
}

std::int64_t free_cuda_memory(int index) {
  const auto stats = allocator::getDeviceStats(static_cast<c10::DeviceIndex>(index));
  return static_cast<std::int64_t>(device_bytes(index).free) + stats.reserved_bytes[0].current -
         stats.allocated_bytes[0].current;
}

}  // namespace lshdp
