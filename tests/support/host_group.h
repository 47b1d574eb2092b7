// HostGroup: a DeviceGroup of ranks whose "devices" are the host, over a communicator: for tests without devices.
#pragma once
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "lshdp/comm/device_communicator.h"
#include "lshdp/comm/node.h"

namespace lshdp::test {

/// It is as strict about the order as NCCL, and where ranks differ in it says so, in place of waiting for ever.
class HostGroup final : public comm::DeviceGroup {
 public:
  explicit HostGroup(std::unique_ptr<comm::Communicator> group) : group_(std::move(group)) {}

  Event reduce(const comm::Buffer& vector, std::span<const comm::Piece> pieces, const Event& after) override {
    after.wait();
    const std::scoped_lock lock(mutex_);
    require_same_call('r', vector);
    const bool is_double = vector.type == comm::DataType::float64;
    const at::Tensor mine = at::from_blob(vector.data, {vector.count}, is_double ? at::kDouble : at::kFloat);
    const at::Tensor sum = mine.clone();
    group_->all_reduce_sum({sum.data_ptr(), vector.count, vector.type}).wait();
    mine.fill_(std::numeric_limits<double>::quiet_NaN());  // undefined, but where this rank is the root
    for (const comm::Piece& piece : pieces) {
      if (piece.root == group_->rank())
        mine.narrow(0, piece.offset, piece.count).copy_(sum.narrow(0, piece.offset, piece.count));
    }
    return Event(0.0);
  }

  Event broadcast(const comm::Buffer& vector, std::span<const comm::Piece> pieces, const Event& after) override {
    after.wait();
    const std::scoped_lock lock(mutex_);
    require_same_call('b', vector);
    for (const comm::Piece& piece : pieces) {
      auto* data =
          static_cast<std::byte*>(vector.data) + piece.offset * static_cast<std::int64_t>(comm::size_of(vector.type));
      if (piece.count > 0) group_->broadcast({data, piece.count, vector.type}, piece.root).wait();
    }
    return Event(0.0);
  }

  void abandon() override { group_->abandon(); }

 private:
  /// All ranks are in the same kind of call, for as many elements, at the same place in the order.
  void require_same_call(char kind, const comm::Buffer& vector) {
    const double mine = static_cast<double>(vector.count) * (kind == 'r' ? 1 : -1);
    double theirs[2] = {mine, mine * mine};
    group_->all_reduce_sum({theirs, 2, comm::DataType::float64}).wait();
    const double ranks = group_->size();
    if (theirs[0] != ranks * mine || theirs[1] != ranks * mine * mine)
      throw std::logic_error("the ranks of a group differ in the order of their calls");
  }

  std::unique_ptr<comm::Communicator> group_;
  std::mutex mutex_;
};

/// Of the ranks of `host` that have this rank's name. All ranks must call it.
inline std::unique_ptr<comm::DeviceGroup> host_group(comm::Communicator& host, const std::vector<std::string>& names) {
  const comm::NodeMap map = comm::map_nodes(names);
  const std::vector<int>& mine = map.nodes[static_cast<std::size_t>(map.node_of(host.rank()))];
  return std::make_unique<HostGroup>(host.subgroup(mine));
}

}  // namespace lshdp::test
