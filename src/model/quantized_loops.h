// The loops over quantised weights in host memory, and the same by LibTorch's operations for other devices.
#pragma once
#include <array>
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "lshdp/core/bf16.h"
#include "lshdp/core/fp16.h"
#include "lshdp/model/quantized.h"

namespace lshdp::model {

inline constexpr std::int64_t kBlock = 64;        // values that share a scale
inline constexpr std::int64_t kScaleBlock = 256;  // scales that share one

/// What the 16 codes of NF4 stand for: quantiles of the normal distribution, scaled to [-1, 1], with an exact 0.
inline constexpr std::array<float, 16> kNf4Levels = {
    -1.0F,
    -0.6961928009986877F,
    -0.5250730514526367F,
    -0.39491748809814453F,
    -0.28444138169288635F,
    -0.18477343022823334F,
    -0.09105003625154495F,
    0.0F,
    0.07958029955625534F,
    0.16093020141124725F,
    0.24611230194568634F,
    0.33791524171829224F,
    0.44070982933044434F,
    0.5626170039176941F,
    0.7229568362236023F,
    1.0F,
};

/// What the 256 codes of a scale stand for, rising: the dynamic 8-bit type of arXiv 1511.04561 with a sign.
std::array<float, 256> dynamic_levels();

/// Whether the processor has AVX2, for which there are loops of their own. They give the same.
bool has_avx2();

/// Values to codes (of `count` values, (count + 1) / 2) and scales (one a block).
void quantize_nf4(const float* values, std::int64_t count, std::uint8_t* codes, float* scales,
                  bool by_avx2 = has_avx2());
/// [rows, length] to as many codes and `rows` scales.
void quantize_rows(const float* values, std::int64_t rows, std::int64_t length, std::int8_t* codes, float* scales);
/// Scales less their mean to codes and scales of their own.
void quantize_scales(const float* values, std::int64_t count, std::uint8_t* codes, float* scales);

/// The inverse: `to` is of float, double, Bf16 or Fp16.
template <class To>
void dequantize_nf4(const std::uint8_t* codes, const float* scales, std::int64_t count, To* to,
                    bool by_avx2 = has_avx2());
template <class To>
void dequantize_rows(const std::int8_t* codes, const float* scales, std::int64_t rows, std::int64_t length, To* to,
                     bool by_avx2 = has_avx2());

/// The scale of each block of an nf4 or nf4_double weight, on its device.
at::Tensor block_scales(const QuantizedTensor& weight);
/// An int8, nf4 or nf4_double weight in float32, by operations that every device has.
at::Tensor dequantized_by_operations(const QuantizedTensor& weight);

}  // namespace lshdp::model
