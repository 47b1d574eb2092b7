// Frozen weights in few bits, as bitsandbytes stores them: NF4 in blocks (QLoRA, arXiv 2305.14314) or int8 in rows.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lshdp/model/base_precision.h"

namespace lshdp::model {

/// A weight in few bits. A block is 64 values of the weight in row-major order, a row all values along its last
/// dimension; the last block may be shorter. All tensors lie on one device.
struct QuantizedTensor {
  std::vector<std::int64_t> shape;
  BasePrecision precision = BasePrecision::full;
  at::Tensor codes;        // full: float32 of `shape`; int8: int8 of `shape`; nf4: uint8 [(values + 1) / 2], of the two
                           // values of a byte the first in the upper half
  at::Tensor scales;       // float32, the largest magnitude: int8: of each row; nf4: of each block; nf4_double: that
                           // the scales of each 256 blocks have after the mean is subtracted
  at::Tensor levels;       // nf4: float32 [16], what the codes stand for
  at::Tensor scale_codes;  // nf4_double: uint8 [blocks]
  at::Tensor scale_levels;  // nf4_double: float32 [256], what the scales' codes stand for
  float mean_scale = 0;     // nf4_double
};

/// Rounds each value to the nearest that can be held, once and on the CPU, from float32; the result lies where the
/// weight does. `full` shares the weight's memory where that is float32 on the CPU. Any floating type, device and
/// stride. Throws std::invalid_argument on other types, on values that are not finite, and on none.
QuantizedTensor quantize(const at::Tensor& weight, BasePrecision precision);

/// The same of a weight of zeros, on that device. `precision`: not full.
QuantizedTensor quantized_zeros(std::span<const std::int64_t> shape, BasePrecision precision, at::Device device);

/// The values, computed in float32 and then rounded to the type of `out`: float32, bfloat16, float16 or float64. `out`
/// is contiguous, has the shape, and lies on the device. Throws std::invalid_argument otherwise.
void dequantize_into(const QuantizedTensor& weight, const at::Tensor& out);

/// Bytes of all tensors of quantize() of a weight of this shape.
std::int64_t quantized_bytes(std::span<const std::int64_t> shape, BasePrecision precision);

}  // namespace lshdp::model
