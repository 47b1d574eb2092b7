// The sums behind reductions. Compiled for vector units by options of its own (CMakeLists.txt).
#include "kernels.h"

#include <stdexcept>

namespace lshdp::comm {
namespace {

template <typename T>
void add(T* __restrict__ into, const T* __restrict__ from, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) into[i] += from[i];
}

}  // namespace

void add_elements(DataType type, void* into, const void* from, std::int64_t count) {
  if (type == DataType::float32) return add(static_cast<float*>(into), static_cast<const float*>(from), count);
  if (type == DataType::float64) return add(static_cast<double*>(into), static_cast<const double*>(from), count);
  throw std::invalid_argument("sums are of float32 or float64 only");
}

}  // namespace lshdp::comm
