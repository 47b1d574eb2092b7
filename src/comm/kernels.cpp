// The sums behind reductions.
#include "kernels.h"

#include <stdexcept>

#include "lshdp/core/blocked_loop.h"

namespace lshdp::comm {
namespace {

template <typename T>
void add(T* __restrict__ into, const T* __restrict__ from, std::int64_t count) {
  blocked_loop(count, [=](std::int64_t i) { into[i] += from[i]; });
}

}  // namespace

void add_elements(DataType type, void* into, const void* from, std::int64_t count) {
  if (type == DataType::float32) return add(static_cast<float*>(into), static_cast<const float*>(from), count);
  if (type == DataType::float64) return add(static_cast<double*>(into), static_cast<const double*>(from), count);
  throw std::invalid_argument("sums are of float32 or float64 only");
}

}  // namespace lshdp::comm
