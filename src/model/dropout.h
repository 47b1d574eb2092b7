// Dropout that is a function of the run, the step, the layer, the sample and the place in it: no split changes it.
#pragma once
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "lshdp/model/block.h"

namespace lshdp::model {

/// `input` [B, ..] with each element zero with this probability and divided by its complement otherwise. `layer` tells
/// the layers of a model apart. The same elements for the same numbers, whatever the type, the device and B.
at::Tensor keyed_dropout(const at::Tensor& input, double probability, std::uint64_t layer, const DropoutKey& key);

}  // namespace lshdp::model
