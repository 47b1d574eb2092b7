// A build without CUDA.
#include "lshdp/core/cuda.h"
#include "lshdp/core/error.h"

namespace lshdp {

bool built_with_cuda() { return false; }
int cuda_device_count() { return 0; }
std::string cuda_version() { return ""; }

std::shared_ptr<ComputeDevice> make_cuda_device(int) {
  throw RunError("this build has no CUDA: configure it with -DLSHDP_CUDA=ON");
}

}  // namespace lshdp
