// One AdamW step over flat host memory in a single pass: gradient -> moments -> master weights -> compute copy.
#pragma once
#include <ATen/core/Tensor.h>

#include "lshdp/parallel/store.h"

namespace lshdp::parallel {

/// Flat CPU tensors of one length that do not overlap. Per element of fp32 the pass reads 16 bytes and writes 12, and
/// what the copy takes.
struct HostRange {
  at::Tensor gradient;                     // master type, or bf16 where that is fp32
  at::Tensor master;                       // fp32 or fp64
  at::Tensor first_moment, second_moment;  // master type
  at::Tensor copy;                         // what forward and backward use, fp32, bf16 or fp16; undefined: none
};

/// One AdamW step (as torch.optim.AdamW) with `gradient_scale` times the gradient, on LibTorch's threads. Then `copy`
/// is `master`, rounded to the nearest (ties to even) where it is narrower. `weight_decay` stands in for adamw's. The
/// result does not depend on the number of threads. Throws std::invalid_argument on tensors that do not belong
/// together.
void adamw_on_host(const HostRange& range, double gradient_scale, double weight_decay, const AdamW& adamw,
                   const Update& update);

}  // namespace lshdp::parallel
