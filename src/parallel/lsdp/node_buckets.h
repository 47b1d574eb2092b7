// NodeBuckets: what the ranks of one node hold together: parameters, sums of gradients, and how far each bucket is.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "layout/block_layout.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/comm/node.h"
#include "lshdp/core/device.h"
#include "lshdp/parallel/precision.h"

namespace lshdp::parallel {

/// How far the node is with a bucket. Guarded by the monitor. Counts begin with 0 and never fall, so that nothing has
/// to be reset between steps: rank-wise ones grow by the node's ranks in each step.
struct BucketProgress {
  std::int64_t contributions = 0;  // ranks that have added their last gradients
  std::int64_t reduced = 0;        // last step whose sum over nodes is there (this node's shard of it)
  std::int64_t updates = 0;        // ranks that have updated their shards
  std::int64_t version = 0;        // changes of the parameters that are whole: steps, and values that were set
  bool adding = false;             // a rank adds gradients
};

/// Bytes that NodeBuckets takes beside parameters and gradients, rounding up included.
std::int64_t bookkeeping_bytes(const BlockLayout& layout, Precision precision);

/// The node's copy of all parameters (compute type) and its sum of gradients (master type) in memory that its ranks see
/// together. All ranks must construct it together.
class NodeBuckets {
 public:
  using Lock = std::unique_lock<comm::NodeMonitor>;

  NodeBuckets(comm::Communicator& communicator, const comm::NodeMap& map, const BlockLayout& layout,
              Precision precision, ComputeDevice& device);

  std::size_t size() const { return values_.size(); }
  int local_size() const { return local_size_; }
  std::int64_t bytes() const { return memory_.bytes(); }
  /// 1-D, the bucket's count.
  const at::Tensor& values(std::size_t bucket) const { return values_[bucket]; }
  const at::Tensor& gradients(std::size_t bucket) const { return gradients_[bucket]; }
  /// By slot: the last step in which a gradient was written. For the rank that adds.
  std::span<std::int64_t> touched(std::size_t bucket) const { return touched_[bucket]; }
  BucketProgress& progress(std::size_t bucket) const { return progress_[bucket]; }

  Lock lock() const { return Lock(*monitor_); }
  void ring() const { monitor_->ring(); }
  /// Waits (lock held) until `condition` holds. Throws RunError once this rank has given up.
  void wait(const std::function<bool()>& condition) const;
  /// The same for threads that just end: false once this rank has given up.
  bool wait_or_end(const std::function<bool()>& condition) const { return monitor_->wait(condition, given_up_); }
  /// This rank waits for nobody any more; other ranks of the node are left alone.
  void give_up();

 private:
  comm::NodeMemory memory_;
  std::shared_ptr<void> pin_;  // of this rank's view of it, for its device
  int local_size_;
  comm::NodeMonitor* monitor_ = nullptr;
  std::span<BucketProgress> progress_;
  std::vector<std::span<std::int64_t>> touched_;
  std::vector<at::Tensor> values_, gradients_;
  std::atomic<bool> given_up_ = false;
};

}  // namespace lshdp::parallel
