// Floating-point operations of a model, for its utilization of devices.
#pragma once
#include "lshdp/model/model.h"

namespace lshdp::model {

/// Floating-point operations of forward and backward of one sample (for tokens of a whole context): 2 for each
/// multiplication and addition of the matrix products, convolutions and attention of a forward pass, causal attention
/// counted whole; the backward pass counts twice, or once where nothing is trained, in proportion to the trained
/// parameters. Nothing else counts, whatever a run computes twice. Runs one sample (of texts one token) forward on the
/// host. 0: a block cannot run so, and what it does is not known.
double flops_per_sample(const Model& model);

}  // namespace lshdp::model
