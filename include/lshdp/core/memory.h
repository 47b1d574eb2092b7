// MemoryBudget: counts the bytes of a device's tensors, and refuses those beyond a limit; memory that is used again.
#pragma once
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>

namespace lshdp {

class ComputeDevice;

/// Counts the bytes of tensors on one kind of device. A limit holds from the next request on.
class MemoryCounter {
 public:
  virtual ~MemoryCounter() = default;
  virtual std::int64_t used() const = 0;
  virtual std::int64_t peak() const = 0;
  virtual void reset_peak() = 0;
  virtual std::optional<std::int64_t> limit() const = 0;
  virtual void set_limit(std::optional<std::int64_t> limit_bytes) = 0;
  virtual std::int64_t needed() const = 0;
};

/// Of CPU tensors: every byte LibTorch's CPU allocator hands out while the counter lives. It sees what tensors ask for;
/// scratch that libraries take by themselves (oneDNN, MPI) is not seen. At most one at a time in a process
/// (std::logic_error). Construct and destroy it while no other thread makes tensors. Tensors made before it are not
/// counted; tensors made under it may outlive it.
std::unique_ptr<MemoryCounter> make_host_memory_counter();

/// While it lives, the bytes of a device's tensors are counted, and a piece that would go over the limit is refused
/// with c10::OutOfMemoryError (see is_out_of_memory). Of the host it counts as make_host_memory_counter() says. Calls
/// other than construction may come from any thread.
class MemoryBudget {
 public:
  /// Of CPU tensors. `limit_bytes`: none counts only.
  explicit MemoryBudget(std::optional<std::int64_t> limit_bytes = std::nullopt);
  explicit MemoryBudget(ComputeDevice& device, std::optional<std::int64_t> limit_bytes = std::nullopt);

  /// Bytes handed out and not yet given back.
  std::int64_t used() const { return counter_->used(); }
  /// The largest used() since construction or reset_peak(). Refused pieces do not count.
  std::int64_t peak() const { return counter_->peak(); }
  void reset_peak() { counter_->reset_peak(); }
  std::optional<std::int64_t> limit() const { return counter_->limit(); }
  /// Holds from the next request on; what is already handed out stays.
  void set_limit(std::optional<std::int64_t> limit_bytes) { counter_->set_limit(limit_bytes); }
  /// used() plus the refused piece at the last refusal: the limit would have had to be at least this. 0 without a
  /// refusal. A device that does not tell the piece gives the limit: more was needed.
  std::int64_t needed() const { return counter_->needed(); }

 private:
  std::unique_ptr<MemoryCounter> counter_;
};

/// From now on the process keeps the memory that tensors give back and hands it out again, instead of returning it to
/// the kernel, which would clear it page by page at the next use. The process then stays as large as it was at most.
/// For the begin of main, before there are threads.
void keep_freed_memory();

/// While one lives, tensors that its thread makes are host memory beside the device: no MemoryBudget counts them, then
/// or later. For what a run holds outside the device on purpose, such as a whole copy of the parameters at its end.
class HostMemoryScope {
 public:
  HostMemoryScope();
  ~HostMemoryScope();
  HostMemoryScope(const HostMemoryScope&) = delete;
  HostMemoryScope& operator=(const HostMemoryScope&) = delete;
};

/// True for the errors that mean "no memory": a refusal by a MemoryBudget or a device, or std::bad_alloc.
bool is_out_of_memory(const std::exception& error);

}  // namespace lshdp
