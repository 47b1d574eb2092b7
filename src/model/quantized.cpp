// Quantised weights: which tensors they consist of, and which loop or operation serves a device and a type.
#include "lshdp/model/quantized.h"

#include <array>
#include <functional>
#include <numeric>
#include <stdexcept>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "quantized_loops.h"

namespace lshdp::model {
namespace {

constexpr std::array<const char*, 4> kNames{"full", "int8", "nf4", "nf4-double"};

std::int64_t values_in(std::span<const std::int64_t> shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::int64_t row_length(std::span<const std::int64_t> shape) { return shape.empty() ? 1 : shape.back(); }

std::int64_t rows_in(std::span<const std::int64_t> shape) {
  return values_in(shape.first(shape.empty() ? 0 : shape.size() - 1));
}

std::int64_t parts(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

template <std::size_t Count>
at::Tensor tensor_of(const std::array<float, Count>& values) {
  return at::tensor(at::ArrayRef<float>(values));
}

QuantizedTensor without_values(const at::Tensor& weight, BasePrecision precision) {
  QuantizedTensor result;
  result.shape = weight.sizes().vec();
  result.precision = precision;
  return result;
}

/// The same on every machine, whatever the order in which its vector units would add.
float mean_of(const at::Tensor& scales) {
  const float* values = scales.const_data_ptr<float>();
  const double sum = std::accumulate(values, values + scales.numel(), 0.0);
  return static_cast<float>(sum / static_cast<double>(scales.numel()));
}

QuantizedTensor in_rows(const at::Tensor& weight) {
  QuantizedTensor result = without_values(weight, BasePrecision::int8);
  result.codes = at::empty(result.shape, at::kChar);
  result.scales = at::empty({rows_in(result.shape)}, at::kFloat);
  quantize_rows(weight.const_data_ptr<float>(), rows_in(result.shape), row_length(result.shape),
                result.codes.data_ptr<std::int8_t>(), result.scales.data_ptr<float>());
  return result;
}

QuantizedTensor in_blocks(const at::Tensor& weight) {
  QuantizedTensor result = without_values(weight, BasePrecision::nf4);
  result.codes = at::empty({parts(weight.numel(), 2)}, at::kByte);
  result.scales = at::empty({parts(weight.numel(), kBlock)}, at::kFloat);
  result.levels = tensor_of(kNf4Levels);
  quantize_nf4(weight.const_data_ptr<float>(), weight.numel(), result.codes.data_ptr<std::uint8_t>(),
               result.scales.data_ptr<float>());
  return result;
}

/// Nothing is left of the scales themselves.
void quantize_scales_of(QuantizedTensor& weight) {
  weight.precision = BasePrecision::nf4_double;
  weight.mean_scale = mean_of(weight.scales);
  const at::Tensor centred = weight.scales - weight.mean_scale;
  weight.scale_codes = at::empty(centred.sizes(), at::kByte);
  weight.scales = at::empty({parts(centred.numel(), kScaleBlock)}, at::kFloat);
  weight.scale_levels = tensor_of(dynamic_levels());
  quantize_scales(centred.const_data_ptr<float>(), centred.numel(), weight.scale_codes.data_ptr<std::uint8_t>(),
                  weight.scales.data_ptr<float>());
}

QuantizedTensor quantized_on_cpu(const at::Tensor& weight, BasePrecision precision) {
  if (precision == BasePrecision::int8) return in_rows(weight);
  QuantizedTensor result = precision == BasePrecision::full ? without_values(weight, precision) : in_blocks(weight);
  if (precision == BasePrecision::full) result.codes = weight;
  if (precision == BasePrecision::nf4_double) quantize_scales_of(result);
  return result;
}

void move_to(QuantizedTensor& weight, at::Device device) {
  for (at::Tensor* part : {&weight.codes, &weight.scales, &weight.levels, &weight.scale_codes, &weight.scale_levels}) {
    if (part->defined()) *part = part->to(device);
  }
}

template <class To>
void dequantize_on_cpu(const QuantizedTensor& weight, const at::Tensor& out) {
  auto* to = static_cast<To*>(out.data_ptr());
  if (weight.precision == BasePrecision::int8) {
    dequantize_rows(weight.codes.const_data_ptr<std::int8_t>(), weight.scales.const_data_ptr<float>(),
                    rows_in(weight.shape), row_length(weight.shape), to);
  } else {
    const at::Tensor scales = block_scales(weight);
    dequantize_nf4(weight.codes.const_data_ptr<std::uint8_t>(), scales.const_data_ptr<float>(), out.numel(), to);
  }
}

void require_fits(const QuantizedTensor& weight, const at::Tensor& out) {
  if (out.sizes() != at::IntArrayRef(weight.shape) || !out.is_contiguous() || out.device() != weight.codes.device()) {
    throw std::invalid_argument("a quantised weight goes into a contiguous tensor of its shape on its device");
  }
}

/// Each value times the scale of its part; the last of the parts may be shorter.
at::Tensor times_scales(const at::Tensor& values, const at::Tensor& scales, std::int64_t part) {
  const std::int64_t whole = values.numel() / part * part;
  values.narrow(0, 0, whole).view({-1, part}).mul_(scales.narrow(0, 0, whole / part).unsqueeze(1));
  if (whole < values.numel()) values.narrow(0, whole, values.numel() - whole).mul_(scales.narrow(0, whole / part, 1));
  return values;
}

}  // namespace

std::string to_text(BasePrecision precision) { return kNames.at(static_cast<std::size_t>(precision)); }

BasePrecision base_precision_from_text(std::string_view text) {
  for (std::size_t place = 0; place < kNames.size(); ++place) {
    if (text == kNames[place]) return static_cast<BasePrecision>(place);
  }
  throw UsageError(fmt::format("unknown precision of frozen weights '{}'; use full, int8, nf4 or nf4-double", text));
}

at::Tensor block_scales(const QuantizedTensor& weight) {
  if (weight.precision == BasePrecision::nf4) return weight.scales;
  const at::Tensor levels = weight.scale_levels.index_select(0, weight.scale_codes.to(at::kInt));
  return times_scales(levels, weight.scales, kScaleBlock).add_(weight.mean_scale);
}

at::Tensor dequantized_by_operations(const QuantizedTensor& weight) {
  if (weight.precision == BasePrecision::int8) {
    const at::Tensor values = weight.codes.to(at::kFloat).view({rows_in(weight.shape), row_length(weight.shape)});
    return values.mul_(weight.scales.unsqueeze(1)).mul_(1.0F / 127.0F).view(weight.shape);
  }
  const at::Tensor pairs = at::stack({weight.levels.repeat_interleave(16), weight.levels.repeat(16)}, 1);
  const at::Tensor values = pairs.index_select(0, weight.codes.to(at::kInt)).flatten();
  return times_scales(values.narrow(0, 0, values_in(weight.shape)), block_scales(weight), kBlock).view(weight.shape);
}

QuantizedTensor quantized_zeros(std::span<const std::int64_t> shape, BasePrecision precision, at::Device device) {
  if (precision == BasePrecision::full) throw std::invalid_argument("zeros of full precision are not quantised");
  const std::int64_t values = values_in(shape), blocks = parts(values, kBlock);
  QuantizedTensor result;
  result.shape.assign(shape.begin(), shape.end());
  result.precision = precision;
  if (precision == BasePrecision::int8) {
    result.codes = at::zeros(result.shape, at::kChar);
    result.scales = at::zeros({rows_in(shape)}, at::kFloat);
  } else {
    result.codes = at::zeros({parts(values, 2)}, at::kByte);
    result.levels = tensor_of(kNf4Levels);
    result.scales = at::zeros({precision == BasePrecision::nf4 ? blocks : parts(blocks, kScaleBlock)}, at::kFloat);
  }
  if (precision == BasePrecision::nf4_double) {
    result.scale_codes = at::zeros({blocks}, at::kByte);
    result.scale_levels = tensor_of(dynamic_levels());
  }
  move_to(result, device);
  return result;
}

QuantizedTensor quantize(const at::Tensor& weight, BasePrecision precision) {
  if (!weight.is_floating_point() || weight.numel() == 0 || !weight.isfinite().all().item<bool>()) {
    throw std::invalid_argument("what is quantised must be finite floating numbers");
  }
  QuantizedTensor result = quantized_on_cpu(weight.detach().to(at::kCPU, at::kFloat).contiguous(), precision);
  move_to(result, weight.device());
  return result;
}

void dequantize_into(const QuantizedTensor& weight, const at::Tensor& out) {
  require_fits(weight, out);
  if (weight.precision == BasePrecision::full) {
    out.copy_(weight.codes);
    return;
  }
  if (!out.is_cpu()) {
    out.copy_(dequantized_by_operations(weight));
    return;
  }
  switch (out.scalar_type()) {
    case at::kFloat:
      return dequantize_on_cpu<float>(weight, out);
    case at::kDouble:
      return dequantize_on_cpu<double>(weight, out);
    case at::kBFloat16:
      return dequantize_on_cpu<Bf16>(weight, out);
    case at::kHalf:
      return dequantize_on_cpu<Fp16>(weight, out);
    default:
      throw std::invalid_argument("a quantised weight goes into float32, bfloat16, float16 or float64");
  }
}

std::int64_t quantized_bytes(std::span<const std::int64_t> shape, BasePrecision precision) {
  constexpr std::int64_t number = sizeof(float), nf4_levels = 16 * number, scale_levels = 256 * number;
  const std::int64_t values = values_in(shape), blocks = parts(values, kBlock);
  switch (precision) {
    case BasePrecision::int8:
      return values + rows_in(shape) * number;
    case BasePrecision::nf4:
      return parts(values, 2) + blocks * number + nf4_levels;
    case BasePrecision::nf4_double:
      return parts(values, 2) + blocks + parts(blocks, kScaleBlock) * number + nf4_levels + scale_levels;
    case BasePrecision::full:
      break;
  }
  return values * number;
}

}  // namespace lshdp::model
