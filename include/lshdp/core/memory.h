// MemoryBudget: counts the bytes of all CPU tensors, and refuses those beyond a limit; memory that is used again.
#pragma once
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>

namespace lshdp {

/// While it lives, every byte LibTorch's CPU allocator hands out is counted, and a piece that would go over the limit
/// is refused with c10::OutOfMemoryError (see is_out_of_memory). It sees what tensors ask for; scratch that libraries
/// take by themselves (oneDNN, MPI) is not seen.
///
/// At most one at a time in a process (std::logic_error). Construct and destroy it while no other thread makes tensors;
/// all other calls may come from any thread. Tensors made before it are not counted; tensors made under it may outlive
/// it.
class MemoryBudget {
 public:
  /// `limit_bytes`: none counts only.
  explicit MemoryBudget(std::optional<std::int64_t> limit_bytes = std::nullopt);
  ~MemoryBudget();
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  /// Bytes handed out and not yet given back.
  std::int64_t used() const;
  /// The largest used() since construction or reset_peak(). Refused pieces do not count.
  std::int64_t peak() const;
  void reset_peak();
  std::optional<std::int64_t> limit() const;
  /// Holds from the next request on; what is already handed out stays.
  void set_limit(std::optional<std::int64_t> limit_bytes);
  /// used() plus the refused piece at the last refusal: the limit would have had to be at least this. 0 without a
  /// refusal.
  std::int64_t needed() const;

  struct Counters;

 private:
  std::shared_ptr<Counters> counters_;  // shared with the pieces handed out, which may outlive the budget
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
