// First values as a keyed function of (seed, name, index): the same on every machine, whatever its processor can do.
//
// LibTorch's own generator draws normal values by another formula where AVX2 is missing, and the C library's log
// differs in its last bit between processors: ranks of unequal machines would start from unequal weights. So this uses
// only integer arithmetic and +, -, *, /, sqrt of doubles, which IEEE 754 defines to the bit.
#include <cmath>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "lshdp/core/mix.h"
#include "lshdp/model/model.h"

namespace lshdp::model {
namespace {

constexpr std::uint64_t kGoldenGamma = 0x9e3779b97f4a7c15U;

std::uint64_t key_of(const std::string& name, std::uint64_t seed) {
  return mix_bits(mix_bits(seed + kGoldenGamma) ^ hash_of(name));
}

/// Uniform in (0, 1): the middles of 2^53 equal parts.
double uniform(std::uint64_t key, std::int64_t index) {
  const std::uint64_t bits = mix_bits(key + (static_cast<std::uint64_t>(index) + 1) * kGoldenGamma);
  return (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
}

/// Natural logarithm to 1e-13, by frexp and the series of atanh.
double logarithm(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1), square = s * s;
  double sum = 0;
  for (int k = 17; k >= 1; k -= 2) sum = sum * square + 1.0 / k;
  return 2 * s * sum + exponent * 0.69314718055994531;
}

/// Quantile of the standard normal distribution to 7 figures: PPND7 of algorithm AS 241 (Wichura 1988,
/// doi 10.2307/2347330).
double normal_quantile(double p) {
  const double q = p - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * (((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179) /
           (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1);
  }
  double r = std::sqrt(-logarithm(q < 0 ? p : 1 - p)), value = 0;
  if (r <= 5) {
    r -= 1.6;
    value = (((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777) /
            ((0.12021132975 * r + 0.73700164250) * r + 1);
  } else {
    r -= 5;
    value = (((0.017337203997 * r + 0.42868294337) * r + 3.0812263860) * r + 6.6579051150) /
            ((0.012258202635 * r + 0.24197894225) * r + 1);
  }
  return q < 0 ? -value : value;
}

/// Draws again, under another key, until the value lies in [-2, 2]: torch.nn.init.trunc_normal_'s default.
double truncated_normal(std::uint64_t key, std::int64_t index, double deviation) {
  while (true) {
    const double value = deviation * normal_quantile(uniform(key, index));
    if (std::abs(value) <= 2) return value;
    key = mix_bits(key + kGoldenGamma);
  }
}

double draw(const Init& init, std::uint64_t key, std::int64_t index) {
  switch (init.kind) {
    case Init::Kind::zeros:
      return 0;
    case Init::Kind::ones:
      return 1;
    case Init::Kind::uniform:
      return init.scale * (2 * uniform(key, index) - 1);
    case Init::Kind::normal:
      return init.scale * normal_quantile(uniform(key, index));
    case Init::Kind::truncated_normal:
      break;
  }
  return truncated_normal(key, index, init.scale);
}

}  // namespace

at::Tensor initial_value(const Parameter& parameter, std::uint64_t seed) {
  constexpr std::int64_t grain = 16384;
  const at::Tensor value = at::empty(parameter.shape, at::kFloat);
  const std::uint64_t key = key_of(parameter.name, seed);
  float* data = value.data_ptr<float>();
  at::parallel_for(0, value.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) data[i] = static_cast<float>(draw(parameter.init, key, i));
  });
  return value;
}

}  // namespace lshdp::model
