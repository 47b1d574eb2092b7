// Masks of keyed dropout: 32-bit integer arithmetic alone, so that every machine and device drops the same elements.
#include "dropout.h"

#include <cmath>
#include <limits>
#include <stdexcept>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "lshdp/core/mix.h"

namespace lshdp::model {
namespace {

constexpr std::int64_t kLow = 0xffffffff;
constexpr std::uint32_t kFirst = 0x7feb352d, kSecond = 0x846ca68b;  // lowbias32 (Wellons 2018, public domain)

/// A bijection of 32 bits in which each bit depends on all.
std::uint32_t mix32(std::uint32_t x) {
  x = (x ^ (x >> 16)) * kFirst;
  x = (x ^ (x >> 15)) * kSecond;
  return x ^ (x >> 16);
}

/// What the places of one sample are mixed with.
struct SampleKey {
  std::uint32_t before, after;
};

SampleKey sample_key(std::uint64_t layer, const DropoutKey& key, std::int64_t sample) {
  const std::uint64_t bits = mix_bits(mix_bits(mix_bits(key.seed ^ layer) + static_cast<std::uint64_t>(key.step)) +
                                      static_cast<std::uint64_t>(key.first_sample + sample));
  return {static_cast<std::uint32_t>(bits), static_cast<std::uint32_t>(bits >> 32)};
}

/// Elements whose number is below this are dropped.
std::uint32_t threshold(double probability) { return static_cast<std::uint32_t>(std::llround(probability * 0x1p32)); }

template <typename T>
void fill(T* mask, std::int64_t count, const SampleKey& key, std::uint32_t limit, T kept) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint32_t drawn = mix32(mix32(static_cast<std::uint32_t>(i) ^ key.before) ^ key.after);
    mask[i] = drawn < limit ? T{0} : kept;
  }
}

template <typename T>
void fill_samples(const at::Tensor& mask, double probability, std::uint64_t layer, const DropoutKey& key) {
  const std::int64_t samples = mask.size(0), count = mask.numel() / samples;
  T* const values = mask.mutable_data_ptr<T>();
  at::parallel_for(0, samples, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      fill(values + i * count, count, sample_key(layer, key, i), threshold(probability),
           static_cast<T>(1 / (1 - probability)));
  });
}

at::Tensor times_low(const at::Tensor& x, std::int64_t factor) { return (x * factor).bitwise_and_(kLow); }

/// mix32 of int64 numbers below 2^32, on any device.
at::Tensor mixed(at::Tensor x) {
  x = times_low(x.bitwise_xor(x.bitwise_right_shift(16)), kFirst);
  x = times_low(x.bitwise_xor(x.bitwise_right_shift(15)), kSecond);
  return x.bitwise_xor(x.bitwise_right_shift(16));
}

/// The same mask by LibTorch's operations, where the host cannot write.
at::Tensor mask_there(const at::Tensor& input, double probability, std::uint64_t layer, const DropoutKey& key) {
  const std::int64_t samples = input.size(0), count = input.numel() / samples;
  const at::Tensor places = at::arange(count, input.options().dtype(at::kLong));
  std::vector<at::Tensor> rows;
  for (std::int64_t i = 0; i < samples; ++i) {
    const SampleKey of_sample = sample_key(layer, key, i);
    rows.push_back(
        mixed(mixed(places.bitwise_xor(std::int64_t{of_sample.before})).bitwise_xor(std::int64_t{of_sample.after}))
            .ge(std::int64_t{threshold(probability)}));
  }
  return at::stack(rows).view(input.sizes()).to(input.scalar_type()).div_(1 - probability);
}

at::Tensor mask_of(const at::Tensor& input, double probability, std::uint64_t layer, const DropoutKey& key) {
  if (!input.device().is_cpu()) return mask_there(input, probability, layer, key);
  if (input.scalar_type() == at::kDouble) {
    const at::Tensor mask = at::empty(input.sizes(), input.options());
    fill_samples<double>(mask, probability, layer, key);
    return mask;
  }
  const at::Tensor mask = at::empty(input.sizes(), input.options().dtype(at::kFloat));
  fill_samples<float>(mask, probability, layer, key);
  return mask.to(input.scalar_type());
}

}  // namespace

at::Tensor keyed_dropout(const at::Tensor& input, double probability, std::uint64_t layer, const DropoutKey& key) {
  if (probability <= 0 || input.numel() == 0) return input;
  if (input.numel() / input.size(0) > kLow) throw std::invalid_argument("a sample of more than 2^32 - 1 elements");
  return input * mask_of(input.detach(), probability, layer, key);
}

}  // namespace lshdp::model
