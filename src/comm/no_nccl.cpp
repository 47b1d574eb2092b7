// A build without NCCL.
#include "lshdp/comm/nccl.h"
#include "lshdp/core/error.h"

namespace lshdp::comm {

bool built_with_nccl() { return false; }
std::string nccl_version() { return ""; }

std::unique_ptr<DeviceGroup> make_nccl_group(Communicator&, const std::vector<std::string>&, ComputeDevice&) {
  throw RunError("this build has no NCCL: configure it with -DLSHDP_CUDA=ON");
}

}  // namespace lshdp::comm
