// Number types of a run: what parameters are kept in, and what forward and backward compute in.
#pragma once
#include <string>
#include <string_view>

#include <c10/core/ScalarType.h>

#include "lshdp/comm/communicator.h"

namespace lshdp::parallel {

/// fp32 and fp64 keep and compute in one type; bf16 and fp16 compute in theirs with fp32 master weights, gradient sums
/// and moments. fp16 scales the loss (loss_scaler.h).
enum class Precision : std::uint8_t { fp32, bf16, fp16, fp64 };

/// "fp32", "bf16", "fp16", "fp64"; throws UsageError naming --precision otherwise.
Precision precision_from_text(std::string_view text);
std::string to_text(Precision precision);

at::ScalarType master_type(Precision precision);   // of master weights, summed gradients and moments
at::ScalarType compute_type(Precision precision);  // of forward and backward
/// What travels between ranks: "exact" or "bf16" (rounded); throws UsageError naming --wire otherwise.
comm::Wire wire_from_text(std::string_view text);
std::string to_text(comm::Wire wire);

comm::DataType wire_type(at::ScalarType type);  // throws std::invalid_argument for a type no communicator moves

}  // namespace lshdp::parallel
