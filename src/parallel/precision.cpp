// Names and types of the precisions.
#include "lshdp/parallel/precision.h"

#include <stdexcept>

#include <fmt/format.h>

#include "lshdp/core/error.h"

namespace lshdp::parallel {

Precision precision_from_text(std::string_view text) {
  if (text == "fp32") return Precision::fp32;
  if (text == "bf16") return Precision::bf16;
  if (text == "fp16") return Precision::fp16;
  if (text == "fp64") return Precision::fp64;
  throw UsageError(fmt::format("--precision: unknown precision '{}'; use fp32, bf16, fp16 or fp64", text));
}

std::string to_text(Precision precision) {
  switch (precision) {
    case Precision::fp32:
      return "fp32";
    case Precision::bf16:
      return "bf16";
    case Precision::fp16:
      return "fp16";
    case Precision::fp64:
      return "fp64";
  }
  throw std::invalid_argument("no such precision");
}

at::ScalarType master_type(Precision precision) { return precision == Precision::fp64 ? at::kDouble : at::kFloat; }

at::ScalarType compute_type(Precision precision) {
  if (precision == Precision::bf16) return at::kBFloat16;
  return precision == Precision::fp16 ? at::kHalf : master_type(precision);
}

comm::Wire wire_from_text(std::string_view text) {
  if (text == "exact") return comm::Wire::exact;
  if (text == "bf16") return comm::Wire::bf16;
  throw UsageError(fmt::format("--wire: unknown '{}'; use exact or bf16", text));
}

std::string to_text(comm::Wire wire) { return wire == comm::Wire::bf16 ? "bf16" : "exact"; }

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
