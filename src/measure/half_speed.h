// Whether a processor has instructions for the precision it is to compute in.
#pragma once
#include "lshdp/parallel/precision.h"

namespace lshdp::measure {

/// How many times as long a matrix product takes on this thread's processor in `precision` as in fp32: milliseconds of
/// measuring. 1 for fp32 and fp64.
double product_slowness(plan::Precision precision);

}  // namespace lshdp::measure
