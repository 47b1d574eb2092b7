// Buckets on their way.
#include "layout/bucket_transfer.h"

#include <algorithm>
#include <exception>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>

namespace lshdp::parallel {

comm::Buffer buffer_of(const at::Tensor& tensor) {
  return {tensor.data_ptr(), tensor.numel(), wire_type(tensor.scalar_type())};
}

void trace_transfer(Trace* trace, const char* what, std::size_t bucket, const comm::Work& work) {
  if (trace == nullptr || !trace->enabled()) return;
  trace->record(fmt::format("{} {}", what, bucket), what, work.began(), work.finished());
}

std::shared_ptr<ComputeDevice> device_or_host(const std::shared_ptr<ComputeDevice>& device) {
  return device ? device : make_host_device();
}

bool copies_for_wire(const ComputeDevice& device, const comm::Communicator& communicator) {
  return device.has_own_memory() && communicator.size() > 1 && !communicator.moves_device_memory();
}

Event copy_in(ComputeDevice& device, const at::Tensor& to, const at::Tensor& from, const Event& after) {
  return device.copy_in(to.data_ptr(), from.data_ptr(), static_cast<std::int64_t>(to.nbytes()), after);
}

Event copy_out(ComputeDevice& device, const at::Tensor& to, const at::Tensor& from, const Event& after,
               std::function<void()> then) {
  return device.copy_out(to.data_ptr(), from.data_ptr(), static_cast<std::int64_t>(to.nbytes()), after,
                         std::move(then));
}

Event start_when_there(ComputeDevice& device, const at::Tensor& to, const at::Tensor& from, const Event& computed,
                       comm::Work transfer) {
  if (to.data_ptr() != from.data_ptr())
    return copy_out(device, to, from, computed, [transfer = std::move(transfer)]() mutable { transfer.start(); });
  transfer.start();
  return computed;
}

at::Tensor zeros_on(const ComputeDevice& device, std::int64_t count, at::ScalarType type) {
  return at::zeros({count}, at::TensorOptions(device.where()).dtype(type));
}

void copy_aside(const at::Tensor& to, const at::Tensor& from) { to.copy_(from, /*non_blocking=*/true); }

void synchronize_device(ComputeDevice& device) noexcept {
  try {
    device.synchronize();
  } catch (const std::exception&) {
    // The memory may go.
  }
}

at::Tensor gather_master(comm::Communicator& communicator, const ShardState& shard, const comm::Shards& shards) {
  const at::Tensor whole = at::zeros({shards.bounds.back()}, shard.master.scalar_type());
  copy_master_to(whole, shard);
  communicator.all_gather(buffer_of(whole), shards).wait();
  return whole;
}

std::int64_t min_count(std::int64_t bucket_bytes, Precision precision) {
  return bucket_bytes / static_cast<std::int64_t>(at::elementSize(master_type(precision)));
}

StepTraffic traffic_of_each_once(const std::vector<Bucket>& buckets, at::ScalarType gradients,
                                 at::ScalarType parameters) {
  const auto gradient_bytes = static_cast<std::int64_t>(at::elementSize(gradients));
  const auto parameter_bytes = static_cast<std::int64_t>(at::elementSize(parameters));
  StepTraffic traffic;
  for (const Bucket& bucket : buckets) {
    traffic.gradient_bytes += bucket.count * gradient_bytes;
    traffic.parameter_bytes += bucket.count * parameter_bytes;
  }
  for (std::size_t i = 0; i < std::min<std::size_t>(2, buckets.size()); ++i)
    traffic.exposed_bytes += buckets[i].table ? 0 : buckets[i].count * gradient_bytes;
  return traffic;
}

}  // namespace lshdp::parallel
