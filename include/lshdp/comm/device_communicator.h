// Collectives on the memory of devices: within a group by what connects the devices, between groups by way of the host.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/core/device.h"

namespace lshdp::comm {

/// Elements [offset, offset + count) of a vector, and the rank of the group that they are summed at, or come from.
struct Piece {
  std::int64_t offset = 0, count = 0;
  int root = 0;
};

/// Ranks whose devices reach each other. Calls carry out one after the other, in the order of issue, which must be the
/// same on all its ranks. They may come from any thread. Vectors are memory of the device.
class DeviceGroup {
 public:
  virtual ~DeviceGroup() = default;
  /// In place, after that event: each piece becomes its sum over the group at its root, undefined elsewhere.
  virtual Event reduce(const Buffer& vector, std::span<const Piece> pieces, const Event& after) = 0;
  /// In place, after that event: each piece of its root to all.
  virtual Event broadcast(const Buffer& vector, std::span<const Piece> pieces, const Event& after) = 0;
  /// What is under way, and all that comes, ends soon or throws.
  virtual void abandon() = 0;
};

/// reduce_scatter_sum and all_gather of vectors in the device's memory, beside all that `host` can do with vectors of
/// the host. `names`: by rank of `host`; ranks of one name are a group, and all groups are of one size (see
/// refuse_unequal_groups()). A vector is summed within each group, so that each of its ranks holds the group's sums for
/// the ranks of the same place in other groups; these exchange them by way of the host's memory; gathers go the other
/// way. With one group nothing leaves the devices' own connection.
///
/// Transfer::tag tells operations apart here as well, but those on device memory must be started in the same order on
/// all ranks, sums and gathers alike: a rank's group works in that order (NCCL may wait for ever where ranks differ in
/// it, also with a group for each). They are exact: Wire::bf16 is refused. Scratch is not needed. Other collectives
/// want memory of the host. All ranks must call it; `host` and `device` must outlive it.
std::unique_ptr<Communicator> make_device_communicator(Communicator& host, const std::vector<std::string>& names,
                                                       std::unique_ptr<DeviceGroup> group, ComputeDevice& device);

/// Throws UsageError if groups of ranks of one name are not all of one size.
void refuse_unequal_groups(const std::vector<std::string>& names);

}  // namespace lshdp::comm
