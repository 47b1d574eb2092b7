// What stores share of moving buckets: as buffers, as spans of a trace, and as bytes of a step.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "layout/arena.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/core/device.h"
#include "lshdp/core/trace.h"
#include "lshdp/parallel/precision.h"
#include "lshdp/parallel/store.h"
#include "optimizer/sharded_adamw.h"

namespace lshdp::parallel {

/// The memory of a contiguous tensor.
comm::Buffer buffer_of(const at::Tensor& tensor);
/// The span of an operation that is done, as "`what` `bucket`". `trace` may be null.
void trace_transfer(Trace* trace, const char* what, std::size_t bucket, const comm::Work& work);
/// The device of a store's options.
std::shared_ptr<ComputeDevice> device_or_host(const std::shared_ptr<ComputeDevice>& device);
/// Whether what such a rank sends and receives is copied between its device and host memory. A rank alone sends
/// nothing, and some communicators do it themselves.
bool copies_for_wire(const ComputeDevice& device, const comm::Communicator& communicator);
/// ComputeDevice's copies, of contiguous tensors of one type and length.
Event copy_in(ComputeDevice& device, const at::Tensor& to, const at::Tensor& from, const Event& after);
Event copy_out(ComputeDevice& device, const at::Tensor& to, const at::Tensor& from, const Event& after,
               std::function<void()> then = {});
/// Starts the transfer of `to`, which the network uses in place of `from`: at once where they are the same memory, else
/// behind the copy, which waits until the device has `computed` them. Returns when both are so.
Event start_when_there(ComputeDevice& device, const at::Tensor& to, const at::Tensor& from, const Event& computed,
                       comm::Work transfer);
/// A 1-D tensor of `count` zeros where that device computes.
at::Tensor zeros_on(const ComputeDevice& device, std::int64_t count, at::ScalarType type);
/// Copies between the device and host memory that is pinned, as a part of what this thread gives the device.
void copy_aside(const at::Tensor& to, const at::Tensor& from);
/// ComputeDevice::synchronize() on the way out, when nobody is left to hear of a failure.
void synchronize_device(ComputeDevice& device) noexcept;
/// A bucket's master weights from all ranks, in host memory: `shard` is this rank's of `shards`. Collective.
at::Tensor gather_master(comm::Communicator& communicator, const ShardState& shard, const comm::Shards& shards);
/// Elements from which on a bucket's gradients have `bucket_bytes` bytes.
std::int64_t min_count(std::int64_t bucket_bytes, Precision precision);
/// A step that reduces each bucket's gradients once and gathers its parameters once, elements of these types.
StepTraffic traffic_of_each_once(const std::vector<Bucket>& buckets, at::ScalarType gradients,
                                 at::ScalarType parameters);

}  // namespace lshdp::parallel
