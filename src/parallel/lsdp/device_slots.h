// DeviceSlots: parameters on the device while they are wanted there, copied from the node's memory by a thread, one
// bucket ahead.
#pragma once
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include <ATen/core/Tensor.h>

#include "layout/block_layout.h"
#include "lsdp/node_buckets.h"
#include "lshdp/core/device.h"
#include "lshdp/core/trace.h"
#include "lshdp/parallel/store.h"

namespace lshdp::parallel {

/// Buckets that stay on the device whatever happens: those before `resident`, and those that others borrow from, since
/// they are wanted at both ends of a pass.
std::vector<bool> resident_buckets(const BlockLayout& layout, std::size_t blocks, std::size_t resident);

/// Elements of each slot: two shared ones, then one for each resident bucket.
std::vector<std::int64_t> slot_counts(const BlockLayout& layout, const std::vector<bool>& resident);

/// Resident buckets have memory of their own and are copied when they changed. The others take turns in two slots, each
/// always in the same one: what autograd keeps of a forward pass finds its parameters there again in backward. What
/// comes next follows from the last two acquired blocks: up through the model, then down again in a step.
class DeviceSlots {
 public:
  /// `on_error` is called on the thread if it ends with an error. `resident`: by bucket.
  DeviceSlots(NodeBuckets& node, const BlockLayout& layout, std::vector<bool> resident, ComputeDevice& device,
              Trace* trace, std::function<void(std::exception_ptr)> on_error);
  ~DeviceSlots();

  /// The bucket's parameters on the device, 1-D, compute type. The same memory for good; what it holds is the bucket's
  /// between acquire and release.
  const at::Tensor& values(std::size_t bucket) const { return values_[bucket]; }
  /// Returns when the block's buckets are here in the version that is expected. `in_step`: a backward pass follows.
  void acquire(std::size_t block, bool in_step);
  void release(std::size_t block);
  /// The bucket is about to change: what is here, and in the node's memory, is old.
  void expect_change(std::size_t bucket);
  /// Returns when the node has the expected version of every bucket.
  void wait_for_all_versions();
  /// True if it has, so that this rank waits for nobody.
  bool finished() const;
  void stop();

  std::int64_t device_bytes() const;
  HostLink copied() const;

 private:
  bool all_versions_there() const;
  bool current(std::size_t bucket) const;    // on the device
  bool available(std::size_t bucket) const;  // in the node's memory
  bool pinned(std::size_t slot) const;
  std::optional<std::size_t> pick() const;
  std::optional<std::size_t> pick_upcoming() const;
  void loop();
  void copy(std::size_t bucket);

  NodeBuckets& node_;
  const BlockLayout& layout_;
  ComputeDevice& device_;
  Trace* trace_;
  std::function<void(std::exception_ptr)> on_error_;
  std::vector<at::Tensor> storage_;   // by slot: two that are shared, then those of resident buckets
  std::vector<std::size_t> slot_of_;  // by bucket
  std::vector<at::Tensor> values_;    // by bucket: a part of its slot

  // Under the node's monitor.
  std::vector<std::optional<std::size_t>> holder_;  // by slot: the bucket whose parameters it holds
  std::vector<Event> free_;                         // by slot: the computation that read it last is done
  std::vector<std::int64_t> version_;               // by bucket: what its slot holds, if it is the holder
  std::vector<std::int64_t> expected_;              // by bucket
  std::vector<int> pins_;                           // by bucket
  std::vector<std::size_t> wanted_;                 // buckets that acquire() waits for
  std::size_t last_block_ = 0;                      // the one acquired last
  bool up_ = true, in_step_ = false;
  bool stopping_ = false;
  HostLink copied_;
  std::thread thread_;
};

}  // namespace lshdp::parallel
