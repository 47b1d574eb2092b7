// Whole pages of host memory, for what copies to and from a device.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "lshdp/core/device.h"

namespace lshdp {

/// `bytes` of memory of their own pages, zero when first touched; null for 0. Throws RunError if the host gives none.
std::shared_ptr<std::byte> map_host_pages(std::int64_t bytes);
/// The same, pinned for that device as long as they live; see ComputeDevice::pin().
std::shared_ptr<std::byte> map_host_pages(std::int64_t bytes, ComputeDevice& device);

}  // namespace lshdp
