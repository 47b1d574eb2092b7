// A build without NCCL.
#include "lshdp/comm/nccl.h"
#include "lshdp/core/error.h"

namespace lshdp::comm {

bool built_with_nccl() { return false; }

DeviceGroups make_nccl_groups(Communicator&, const std::vector<std::string>&, ComputeDevice&) {
  throw RunError("this build has no NCCL: configure it with -DLSHDP_CUDA=ON");
}

}  // namespace lshdp::comm
