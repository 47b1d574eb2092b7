// NCCL behind DeviceGroup: one NCCL communicator and one stream for each group.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <utility>

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <fmt/format.h>
#include <nccl.h>

#include "lshdp/comm/nccl.h"
#include "lshdp/comm/node.h"
#include "lshdp/core/error.h"

namespace lshdp::comm {
namespace {

void check(ncclResult_t result, const char* what) {
  if (result != ncclSuccess) throw RunError(fmt::format("NCCL: {}: {}", what, ncclGetErrorString(result)));
}

ncclDataType_t nccl_type(DataType type) {
  switch (type) {
    case DataType::byte:
      return ncclUint8;
    case DataType::bfloat16:
      return ncclBfloat16;
    case DataType::float16:
      return ncclFloat16;
    case DataType::float32:
      return ncclFloat32;
    case DataType::float64:
      return ncclFloat64;
  }
  throw std::invalid_argument("a type that NCCL does not move");
}

/// The id that the first of `members` made, on all of them. Every rank of `host` must call it.
ncclUniqueId shared_id(Communicator& host, const std::vector<std::vector<int>>& groups) {
  const int rank = host.rank();
  ncclUniqueId mine{};
  for (const std::vector<int>& members : groups) {
    ncclUniqueId id{};
    if (rank == members.front()) check(ncclGetUniqueId(&id), "no id for a group");
    host.broadcast({&id, static_cast<std::int64_t>(sizeof(id)), DataType::byte}, members.front()).wait();
    if (std::ranges::find(members, rank) != members.end()) mine = id;
  }
  return mine;
}

class NcclGroup final : public DeviceGroup {
 public:
  NcclGroup(const ncclUniqueId& id, int rank, int size, ComputeDevice& device)
      : device_(device), stream_(c10::cuda::getStreamFromPool(true, device.where().index())) {
    const c10::cuda::CUDAGuard guard(device.where());
    check(ncclCommInitRank(&group_, size, id, rank), "the devices of a group cannot be connected");
  }
  ~NcclGroup() override {
    if (!aborted_) ncclCommDestroy(group_);
  }
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  Moment reduce(const Buffer& vector, std::span<const Piece> pieces, const Moment& after) override {
    return each(vector, pieces, after, [&](std::byte* data, const Piece& piece) {
      check(ncclReduce(data, data, static_cast<std::size_t>(piece.count), nccl_type(vector.type), ncclSum, piece.root,
                       group_, stream_),
            "reduce");
    });
  }

  Moment broadcast(const Buffer& vector, std::span<const Piece> pieces, const Moment& after) override {
    return each(vector, pieces, after, [&](std::byte* data, const Piece& piece) {
      check(ncclBroadcast(data, data, static_cast<std::size_t>(piece.count), nccl_type(vector.type), piece.root, group_,
                          stream_),
            "broadcast");
    });
  }

  void abandon() override {
    const std::scoped_lock lock(mutex_);
    if (!std::exchange(aborted_, true)) ncclCommAbort(group_);
  }

 private:
  /// As one operation of NCCL, so that pieces of different roots go at the same time.
  template <typename Call>
  Moment each(const Buffer& vector, std::span<const Piece> pieces, const Moment& after, const Call& call) {
    const std::scoped_lock lock(mutex_);
    if (aborted_) throw RunError("NCCL: the group was abandoned");
    const c10::cuda::CUDAStreamGuard guard(stream_);
    device_.follow(after);
    check(ncclGroupStart(), "group");
    for (const Piece& piece : pieces) {
      if (piece.count == 0) continue;
      call(static_cast<std::byte*>(vector.data) + piece.offset * static_cast<std::int64_t>(size_of(vector.type)),
           piece);
    }
    check(ncclGroupEnd(), "group");
    return device_.now();
  }

  ComputeDevice& device_;
  c10::cuda::CUDAStream stream_;
  ncclComm_t group_ = nullptr;
  std::mutex mutex_;
  bool aborted_ = false;
};

}  // namespace

bool built_with_nccl() { return true; }

std::string nccl_version() {
  int version = 0;
  check(ncclGetVersion(&version), "its version");
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

DeviceGroups make_nccl_groups(Communicator& host, const std::vector<std::string>& names, ComputeDevice& device) {
  const NodeMap map = map_nodes(names);
  const auto& mine = map.nodes[static_cast<std::size_t>(map.node_of(host.rank()))];
  const int place = map.local_rank(host.rank()), size = static_cast<int>(mine.size());
  DeviceGroups groups;
  const ncclUniqueId of_sums = shared_id(host, map.nodes);
  groups.sums = std::make_unique<NcclGroup>(of_sums, place, size, device);
  const ncclUniqueId of_gathers = shared_id(host, map.nodes);
  groups.gathers = std::make_unique<NcclGroup>(of_gathers, place, size, device);
  return groups;
}

}  // namespace lshdp::comm
