// What devices can do at most, for the utilization that a log tells.
#pragma once
#include <string_view>

#include "lshdp/plan/strategy.h"

namespace lshdp::train {

/// Floating-point operations a second at most of dense matrix products, by the data sheet of the device that calls
/// itself so (ComputeDevice::description()): "NVIDIA H100 80GB HBM3". As configs/explore/device has them. 0: not known,
/// as of every processor.
double device_peak(std::string_view description, plan::Precision precision);

}  // namespace lshdp::train
