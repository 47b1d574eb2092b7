// Types of the precisions.
#include "lshdp/parallel/precision.h"

#include <stdexcept>

namespace lshdp::parallel {

at::ScalarType master_type(Precision precision) { return precision == Precision::fp64 ? at::kDouble : at::kFloat; }

at::ScalarType compute_type(Precision precision) {
  if (precision == Precision::bf16) return at::kBFloat16;
  return precision == Precision::fp16 ? at::kHalf : master_type(precision);
}

comm::DataType wire_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return comm::DataType::float32;
    case at::kDouble:
      return comm::DataType::float64;
    case at::kBFloat16:
      return comm::DataType::bfloat16;
    case at::kHalf:
      return comm::DataType::float16;
    default:
      throw std::invalid_argument("a type that no communicator moves");
  }
}

}  // namespace lshdp::parallel
