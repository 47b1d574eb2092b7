// ComputeDevice: where a rank computes, and how data come there from host memory and go back.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include "lshdp/core/memory.h"

namespace lshdp {

/// A point in the work of a device. Copies share it. A default-constructed one has passed long ago.
class Event {
 public:
  class State;
  Event() = default;
  /// Has passed, at `seconds` of now_seconds().
  explicit Event(double seconds) : seconds_(seconds) {}
  explicit Event(std::shared_ptr<State> state) : state_(std::move(state)) {}
  /// Returns when it has passed. Throws what the device reports of the work before it.
  void wait() const;
  /// When it passed, on the clock of now_seconds(). It must have passed.
  double seconds() const;
  /// Null where it passed before it was made.
  const std::shared_ptr<State>& state() const { return state_; }

 private:
  std::shared_ptr<State> state_;
  double seconds_ = 0;
};

/// What a Event refers to; each kind of device derives from it.
class Event::State {
 public:
  virtual ~State() = default;
  virtual void wait() = 0;
  virtual double seconds() = 0;
};

/// One per rank, shared by its threads; calls may come from any of them. A device works through what a thread gives it
/// in order, and behind that thread's back: record_event(), copies and wait_event() are how threads follow it. Copies
/// go beside the computation, in each direction in order.
class ComputeDevice {
 public:
  virtual ~ComputeDevice() = default;

  /// Where the tensors of the computation live.
  virtual c10::Device where() const = 0;
  /// True: it does not compute in the memory that the network and the host use.
  virtual bool has_own_memory() const = 0;
  /// "cpu", "cuda:0".
  std::string name() const { return where().str(); }
  /// "cpu", or what the device calls itself.
  virtual std::string description() const = 0;
  /// Counts and limits the bytes of tensors there, see MemoryBudget.
  virtual std::unique_ptr<MemoryCounter> count_memory() = 0;
  /// Bytes that new tensors could have there now. Throws std::logic_error of the host: others tell that.
  virtual std::int64_t free_memory() const = 0;

  /// Whether this is memory of the device, and not of the host.
  virtual bool holds(const void* memory) const = 0;
  /// Makes copies to and from this host memory run beside everything else, while what it returns lives; costs
  /// milliseconds. Throws RunError if the host does not allow it.
  virtual std::shared_ptr<void> pin(void* memory, std::int64_t bytes) = 0;
  /// For a thread that helps the one that computes: while what it returns lives, what this thread gives the device does
  /// not queue behind the computation.
  virtual std::shared_ptr<void> help() = 0;

  /// When all that this thread has given the device so far is done.
  virtual Event record_event() = 0;
  /// Copies `bytes` of host memory to the device after that event, without this thread waiting. Both ends must stay
  /// until it is done.
  virtual Event copy_in(void* to, const void* from, std::int64_t bytes, const Event& after) = 0;
  /// The same from the device; then calls `then`, on a thread of the device, which must not block, throw or use it. The
  /// event is when that has returned.
  virtual Event copy_out(void* to, const void* from, std::int64_t bytes, const Event& after,
                         std::function<void()> then = {}) = 0;
  /// What this thread gives the device from now on begins after that event.
  virtual void wait_event(const Event& event) = 0;
  /// Returns when all copies and all that any thread has given the device are done: before their memory goes.
  virtual void synchronize() = 0;
  /// A tensor of the host as one that the computation may use at once. Returns `host` itself where nothing is apart.
  virtual at::Tensor upload(const at::Tensor& host) = 0;
};

/// The host's processors; nothing is apart, and all that is given to it is done at once.
std::shared_ptr<ComputeDevice> make_host_device();

}  // namespace lshdp
