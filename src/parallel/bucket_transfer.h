// What stores share of moving buckets: as buffers, as spans of a trace, and as bytes of a step.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/trace.h"
#include "lshdp/parallel/arena.h"
#include "lshdp/parallel/precision.h"
#include "lshdp/parallel/store.h"

namespace lshdp::parallel {

/// The memory of a contiguous tensor.
comm::Buffer buffer_of(const at::Tensor& tensor);
/// The span of an operation that is done, as "`what` `bucket`". `trace` may be null.
void trace_transfer(Trace* trace, const char* what, std::size_t bucket, const comm::Work& work);
/// Elements from which on a bucket's gradients have `bucket_bytes` bytes.
std::int64_t least_count(std::int64_t bucket_bytes, Precision precision);
/// A step that reduces each bucket's gradients once and gathers its parameters once, elements of these types.
StepTraffic traffic_of_each_once(const std::vector<Bucket>& buckets, at::ScalarType gradients,
                                 at::ScalarType parameters);

}  // namespace lshdp::parallel
