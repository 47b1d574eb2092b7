// CUDA devices, where the build has them (LSHDP_CUDA): cuda_*.cpp implement this, or no_cuda.cpp.
#pragma once
#include <memory>
#include <string>

#include "lshdp/core/device.h"

namespace lshdp {

/// Whether this build can use CUDA devices at all.
bool built_with_cuda();
/// CUDA devices of this host that can be used; 0 without a driver, or in a build without CUDA.
int cuda_device_count();
/// "13.0, driver 13.0", or "13.0, no driver". Empty in a build without CUDA.
std::string cuda_version();
/// Device `index`, which becomes the calling thread's current one. Throws RunError if it cannot be used.
std::shared_ptr<ComputeDevice> make_cuda_device(int index);

}  // namespace lshdp
