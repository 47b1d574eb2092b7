// NCCL behind DeviceGroup: one NCCL communicator and one stream.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <thread>
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

constexpr auto kPollInterval = std::chrono::microseconds(20);

/// Calls do not block: what NCCL has under way is asked for, so that abandon() is heard wherever a peer is dead.
class NcclGroup final : public DeviceGroup {
 public:
  NcclGroup(const ncclUniqueId& id, int rank, int size, ComputeDevice& device)
      : device_(device), stream_(c10::cuda::getStreamFromPool(true, device.where().index())) {
    const c10::cuda::CUDAGuard guard(device.where());
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    try {
      finish(ncclCommInitRankConfig(&group_, size, id, rank, &config), "the devices of a group cannot be connected");
    } catch (...) {
      abort();
      throw;
    }
  }
  ~NcclGroup() override {
    const std::scoped_lock lock(mutex_);
    if (group_) ncclCommDestroy(group_);
  }
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  Event reduce(const Buffer& vector, std::span<const Piece> pieces, const Event& after) override {
    return each(vector, pieces, after, [&](std::byte* data, const Piece& piece) {
      return ncclReduce(data, data, static_cast<std::size_t>(piece.count), nccl_type(vector.type), ncclSum, piece.root,
                        group_, stream_);
    });
  }

  Event broadcast(const Buffer& vector, std::span<const Piece> pieces, const Event& after) override {
    return each(vector, pieces, after, [&](std::byte* data, const Piece& piece) {
      return ncclBroadcast(data, data, static_cast<std::size_t>(piece.count), nccl_type(vector.type), piece.root,
                           group_, stream_);
    });
  }

  /// A call that waits for a peer sees the flag and lets go of the lock.
  void abandon() override {
    abandoned_ = true;
    const std::scoped_lock lock(mutex_);
    abort();
  }

 private:
  /// As one operation of NCCL, so that pieces of different roots go at the same time.
  template <typename Call>
  Event each(const Buffer& vector, std::span<const Piece> pieces, const Event& after, const Call& call) {
    const std::scoped_lock lock(mutex_);
    if (!group_) throw RunError(kAbandoned);
    const c10::cuda::CUDAStreamGuard guard(stream_);
    device_.wait_event(after);
    const std::int64_t element = static_cast<std::int64_t>(size_of(vector.type));
    finish(ncclGroupStart(), "group");
    ncclResult_t issued = ncclSuccess;
    for (const Piece& piece : pieces) {
      if (piece.count == 0 || failed(issued)) continue;
      issued = call(static_cast<std::byte*>(vector.data) + piece.offset * element, piece);
    }
    const ncclResult_t ended =
        ncclGroupEnd();  // also where a piece was refused: a group left open would take what follows
    finish(failed(issued) ? issued : ended, "an operation");
    return device_.record_event();
  }

  static bool failed(ncclResult_t result) { return result != ncclSuccess && result != ncclInProgress; }

  /// Returns when what a call began is issued to the device. With the lock, or before others know this object.
  void finish(ncclResult_t result, const char* what) {
    while (result == ncclInProgress) {
      if (abandoned_) {
        abort();
        throw RunError(kAbandoned);
      }
      std::this_thread::sleep_for(kPollInterval);
      check(ncclCommGetAsyncError(group_, &result), what);
    }
    check(result, what);
  }

  void abort() noexcept {
    if (group_) ncclCommAbort(std::exchange(group_, nullptr));
  }

  static constexpr const char* kAbandoned = "NCCL: the group was abandoned";
  ComputeDevice& device_;
  c10::cuda::CUDAStream stream_;
  std::atomic<bool> abandoned_ = false;
  std::mutex mutex_;  // one call at a time; guards what follows
  ncclComm_t group_ = nullptr;
};

}  // namespace

bool built_with_nccl() { return true; }

std::string nccl_version() {
  int version = 0;
  check(ncclGetVersion(&version), "its version");
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

std::unique_ptr<DeviceGroup> make_nccl_group(Communicator& host, const std::vector<std::string>& names,
                                             ComputeDevice& device) {
  const NodeMap map = map_nodes(names);
  const auto& mine = map.nodes[static_cast<std::size_t>(map.node_of(host.rank()))];
  return std::make_unique<NcclGroup>(shared_id(host, map.nodes), map.local_rank(host.rank()),
                                     static_cast<int>(mine.size()), device);
}

}  // namespace lshdp::comm
