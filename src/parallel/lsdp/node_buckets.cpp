// How the memory of a node is laid out: monitor, progress, marks of slots, parameters, gradients.
#include "lsdp/node_buckets.h"

#include <new>

#include <ATen/ATen.h>

#include "lshdp/core/error.h"

namespace lshdp::parallel {
namespace {

constexpr std::int64_t kLine = 64;  // bytes: nothing shares a cache line with something else

/// Hands out a stretch of memory piece by piece; with a null base it only counts.
class Cutter {
 public:
  explicit Cutter(std::byte* base) : base_(base) {}
  std::byte* take(std::int64_t bytes) {
    std::byte* piece = base_ == nullptr ? nullptr : base_ + taken_;
    taken_ += (bytes + kLine - 1) / kLine * kLine;
    return piece;
  }
  template <typename T>
  std::span<T> take(std::size_t count) {
    return {reinterpret_cast<T*>(take(static_cast<std::int64_t>(count * sizeof(T)))), count};
  }
  std::int64_t taken() const { return taken_; }

 private:
  std::byte* base_;
  std::int64_t taken_ = 0;
};

std::int64_t element(at::ScalarType type) { return static_cast<std::int64_t>(at::elementSize(type)); }

/// What NodeBuckets takes, in its order.
std::int64_t bytes_of(const BlockLayout& layout, Precision precision) {
  Cutter count(nullptr);
  count.take(sizeof(comm::NodeMonitor));
  count.take<BucketProgress>(layout.buckets().size());
  for (const Bucket& bucket : layout.buckets()) count.take<std::int64_t>(bucket.slots.size());
  for (const Bucket& bucket : layout.buckets()) count.take(bucket.count * element(compute_type(precision)));
  for (const Bucket& bucket : layout.buckets()) count.take(bucket.count * element(master_type(precision)));
  return count.taken();
}

}  // namespace

std::int64_t bookkeeping_bytes(const BlockLayout& layout, Precision precision) {
  std::int64_t bytes = bytes_of(layout, precision);
  for (const Bucket& bucket : layout.buckets())
    bytes -= bucket.count * (element(compute_type(precision)) + element(master_type(precision)));
  return bytes;
}

NodeBuckets::NodeBuckets(comm::Communicator& communicator, const comm::NodeMap& map, const BlockLayout& layout,
                         Precision precision, ComputeDevice& device)
    : memory_(communicator, map, bytes_of(layout, precision), [](std::byte* data) { new (data) comm::NodeMonitor; }),
      local_size_(static_cast<int>(map.nodes[static_cast<std::size_t>(map.node_of(communicator.rank()))].size())) {
  pin_ = device.pin(memory_.data(), memory_.bytes());
  Cutter memory(memory_.data());
  monitor_ = reinterpret_cast<comm::NodeMonitor*>(memory.take(sizeof(comm::NodeMonitor)));
  progress_ = memory.take<BucketProgress>(layout.buckets().size());
  for (const Bucket& bucket : layout.buckets()) touched_.push_back(memory.take<std::int64_t>(bucket.slots.size()));
  const auto tensor = [&](std::int64_t count, at::ScalarType type) {
    return at::from_blob(memory.take(count * element(type)), {count}, type);
  };
  for (const Bucket& bucket : layout.buckets()) values_.push_back(tensor(bucket.count, compute_type(precision)));
  for (const Bucket& bucket : layout.buckets()) gradients_.push_back(tensor(bucket.count, master_type(precision)));
}

void NodeBuckets::wait(const std::function<bool()>& condition) const {
  if (!wait_or_end(condition)) throw RunError("training was given up after an error on this rank");
}

void NodeBuckets::give_up() {
  given_up_ = true;
  ring();
}

}  // namespace lshdp::parallel
