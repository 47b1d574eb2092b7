// Groups of CUDA devices that NCCL connects: nccl_group.cpp implements this, or no_nccl.cpp.
#pragma once
#include <string>
#include <vector>

#include "lshdp/comm/device_communicator.h"

namespace lshdp::comm {

/// Whether this build has NCCL.
bool built_with_nccl();
/// "2.28.9", of the NCCL that was loaded. Empty in a build without it.
std::string nccl_version();
/// NCCL over the ranks of `host` that have this rank's name, each on a CUDA device of its own. All ranks of `host` must
/// call it. Throws RunError where NCCL cannot connect them.
std::unique_ptr<DeviceGroup> make_nccl_group(Communicator& host, const std::vector<std::string>& names,
                                             ComputeDevice& device);

}  // namespace lshdp::comm
