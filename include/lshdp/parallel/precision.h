// Types of a precision: what parameters are kept in, and what forward and backward compute in.
#pragma once
#include <c10/core/ScalarType.h>

#include "lshdp/comm/communicator.h"
#include "lshdp/plan/strategy.h"

namespace lshdp::parallel {

using plan::Precision;

at::ScalarType master_type(Precision precision);   // of master weights, summed gradients and moments
at::ScalarType compute_type(Precision precision);  // of forward and backward
comm::DataType wire_type(at::ScalarType type);     // throws std::invalid_argument for a type no communicator moves

}  // namespace lshdp::parallel
