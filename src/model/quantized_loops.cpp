// The loops over quantised weights in host memory, for any processor and once more for those with AVX2.
// Those over a block have a constant length, so that compilers turn them into vector instructions.
#include "quantized_loops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include <ATen/Parallel.h>

namespace lshdp::model {
namespace {

constexpr std::int64_t kBytes = kBlock / 2;  // of a block's codes
constexpr std::int64_t kGrain = 1 << 15;     // values below which no further thread is worth its start
// A block of zeros is divided by this: its codes are those of 0.
constexpr float kSmallestScale = 1e-38F;
constexpr float kInt8Levels = 127.0F;
// 127 divided by less is infinite: a row of such values becomes zeros.
constexpr float kSmallestRowScale = 1e-36F;

/// Both values of a byte of codes.
struct Pair {
  float upper, lower;
};

constexpr std::array<Pair, 256> make_pairs() {
  std::array<Pair, 256> pairs{};
  for (std::size_t byte = 0; byte < 256; ++byte) pairs[byte] = {kNf4Levels[byte >> 4], kNf4Levels[byte & 15]};
  return pairs;
}

template <std::size_t Count>
constexpr std::array<float, Count - 1> midpoints(const std::array<float, Count>& levels) {
  std::array<float, Count - 1> middle{};
  for (std::size_t i = 0; i + 1 < Count; ++i) middle[i] = (levels[i] + levels[i + 1]) / 2;
  return middle;
}

constexpr std::array<Pair, 256> kPairs = make_pairs();
constexpr std::array<float, 15> kNf4Midpoints = midpoints(kNf4Levels);

float largest_magnitude(const float* values, std::int64_t count) {
  float largest = 0;
  for (std::int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(values[i]));
  return largest;
}

/// The codes of one block, padded with zeros; a value in the middle of two levels takes the lower one.
[[gnu::always_inline]] inline void nf4_codes(const float* __restrict__ values, float scale,
                                             std::uint8_t* __restrict__ codes) {
  const float inverse = 1 / std::max(scale, kSmallestScale);
  std::int32_t found[kBlock] = {};
  for (const float middle : kNf4Midpoints) {
    for (std::int64_t i = 0; i < kBlock; ++i) found[i] += values[i] * inverse > middle ? 1 : 0;
  }
  for (std::int64_t i = 0; i < kBytes; ++i) codes[i] = static_cast<std::uint8_t>(found[2 * i] << 4 | found[2 * i + 1]);
}

template <class To>
[[gnu::always_inline]] inline To rounded_to(float value) {
  if constexpr (std::is_same_v<To, Bf16>) return rounded_to_bf16(value);
  if constexpr (std::is_same_v<To, Fp16>) return rounded_to_fp16(value);
  if constexpr (std::is_floating_point_v<To>) return value;
}

/// What the codes of one block stand for, times its scale.
[[gnu::always_inline]] inline void nf4_block(const std::uint8_t* __restrict__ codes, float scale,
                                             float* __restrict__ values) {
  for (std::int64_t i = 0; i < kBytes; ++i) std::memcpy(values + 2 * i, &kPairs[codes[i]], sizeof(Pair));
  for (std::int64_t i = 0; i < kBlock; ++i) values[i] *= scale;
}

template <class To, auto Block>
[[gnu::always_inline]] inline void nf4_values(const std::uint8_t* __restrict__ codes, float scale,
                                              To* __restrict__ to) {
  if constexpr (std::is_same_v<To, float>) {
    Block(codes, scale, to);
  } else {
    float values[kBlock];
    Block(codes, scale, values);
    for (std::int64_t i = 0; i < kBlock; ++i) to[i] = rounded_to<To>(values[i]);
  }
}

/// In this order, and by the inverse: as bitsandbytes rounds.
template <class To>
[[gnu::always_inline]] inline void int8_values(const std::int8_t* __restrict__ codes, float scale,
                                               To* __restrict__ to) {
  for (std::int64_t i = 0; i < kBlock; ++i) {
    to[i] = rounded_to<To>(static_cast<float>(codes[i]) * scale * (1 / kInt8Levels));
  }
}

/// A block of codes or values, its scale, and what is written.
template <class From, class To>
using BlockLoop = void (*)(const From*, float, To*);

template <class To>
constexpr BlockLoop<std::uint8_t, To> kNf4Values = nf4_values<To, nf4_block>;

// The same for processors with AVX2. Not for FMA: a product and a sum are rounded apart.
#ifdef __x86_64__
/// The levels are in two registers, of which each code picks one place and, by its uppermost bit, one register.
[[gnu::target("avx2")]] inline void nf4_block_by_avx2(const std::uint8_t* __restrict__ codes, float scale,
                                                      float* __restrict__ values) {
  const __m256 low = _mm256_loadu_ps(kNf4Levels.data()), high = _mm256_loadu_ps(kNf4Levels.data() + 8);
  const __m256i shifts = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);  // of a byte the upper half comes first
  for (std::int64_t i = 0; i < kBlock; i += 8) {
    std::int32_t eight = 0;
    std::memcpy(&eight, codes + i / 2, sizeof eight);
    const __m256i places = _mm256_srlv_epi32(_mm256_set1_epi32(eight), shifts);
    const __m256 uppermost = _mm256_castsi256_ps(_mm256_slli_epi32(places, 28));
    const __m256 level =
        _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, places), _mm256_permutevar8x32_ps(high, places), uppermost);
    _mm256_storeu_ps(values + i, _mm256_mul_ps(level, _mm256_set1_ps(scale)));
  }
}
[[gnu::target("avx2")]] void nf4_codes_by_avx2(const float* values, float scale, std::uint8_t* codes) {
  nf4_codes(values, scale, codes);
}
template <class To>
[[gnu::target("avx2")]] void nf4_values_by_avx2(const std::uint8_t* codes, float scale, To* to) {
  nf4_values<To, nf4_block_by_avx2>(codes, scale, to);
}
template <class To>
[[gnu::target("avx2")]] void int8_values_by_avx2(const std::int8_t* codes, float scale, To* to) {
  int8_values(codes, scale, to);
}

#else
constexpr BlockLoop<float, std::uint8_t> nf4_codes_by_avx2 = nullptr;
template <class To>
constexpr BlockLoop<std::uint8_t, To> nf4_values_by_avx2 = nullptr;
template <class To>
constexpr BlockLoop<std::int8_t, To> int8_values_by_avx2 = nullptr;
#endif

/// `chunk` for each kBlock of `count` values; the last, shorter one works on copies.
template <class Code, class To, class Chunk>
void by_chunks(const Code* codes, std::int64_t codes_per_chunk, std::int64_t count, To* to, const Chunk& chunk) {
  const std::int64_t whole = count / kBlock, rest = count % kBlock;
  for (std::int64_t i = 0; i < whole; ++i) chunk(i, codes + i * codes_per_chunk, to + i * kBlock);
  if (rest == 0) return;
  Code padded[kBlock] = {};
  To values[kBlock];
  std::copy_n(codes + whole * codes_per_chunk, (rest * codes_per_chunk + kBlock - 1) / kBlock, padded);
  chunk(whole, padded, values);
  std::copy_n(values, rest, to + whole * kBlock);
}

}  // namespace

bool has_avx2() {
#ifdef __x86_64__
  return __builtin_cpu_supports("avx2") != 0;
#else
  return false;
#endif
}

std::array<float, 256> dynamic_levels() {
  std::array<float, 256> levels{};
  std::size_t place = 0;
  levels[place++] = 0;
  levels[place++] = 1;
  for (int exponent = -6; exponent <= 0; ++exponent) {
    const int parts = 1 << (exponent + 6);  // of [0.1, 1], each with its middle as a level
    const float unit = static_cast<float>(std::pow(10.0, exponent)), step = (1 - 0.1F) / static_cast<float>(parts);
    const auto border = [&](int i) {  // counted from the nearer end
      return i < (parts + 1) / 2 ? std::fma(step, static_cast<float>(i), 0.1F)
                                 : std::fma(-step, static_cast<float>(parts - i), 1.0F);
    };
    for (int i = 0; i < parts; ++i) {
      const float level = unit * ((border(i) + border(i + 1)) / 2);
      levels[place++] = level;
      levels[place++] = -level;
    }
  }
  std::ranges::sort(levels);
  return levels;
}

void quantize_nf4(const float* values, std::int64_t count, std::uint8_t* codes, float* scales, bool by_avx2) {
  const BlockLoop<float, std::uint8_t> find = by_avx2 ? nf4_codes_by_avx2 : nf4_codes;
  at::parallel_for(0, (count + kBlock - 1) / kBlock, kGrain / kBlock, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t length = std::min(kBlock, count - block * kBlock);
      float padded[kBlock] = {};
      std::uint8_t found[kBytes];
      std::copy_n(values + block * kBlock, length, padded);
      scales[block] = largest_magnitude(padded, length);
      find(padded, scales[block], found);
      std::copy_n(found, (length + 1) / 2, codes + block * kBytes);
    }
  });
}

void quantize_rows(const float* values, std::int64_t rows, std::int64_t length, std::int8_t* codes, float* scales) {
  at::parallel_for(0, rows, std::max<std::int64_t>(1, kGrain / length), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* from = values + row * length;
      scales[row] = largest_magnitude(from, length);
      // In this order, as bitsandbytes rounds it.
      const float inverse = scales[row] < kSmallestRowScale ? 0 : 1 / scales[row] * kInt8Levels;
      for (std::int64_t i = 0; i < length; ++i) {
        codes[row * length + i] = static_cast<std::int8_t>(std::nearbyint(from[i] * inverse));
      }
    }
  });
}

void quantize_scales(const float* values, std::int64_t count, std::uint8_t* codes, float* scales) {
  const std::array<float, 255> middle = midpoints(dynamic_levels());
  for (std::int64_t block = 0; block * kScaleBlock < count; ++block) {
    const std::int64_t first = block * kScaleBlock, length = std::min(kScaleBlock, count - first);
    scales[block] = largest_magnitude(values + first, length);
    const float inverse = 1 / std::max(scales[block], kSmallestScale);
    for (std::int64_t i = first; i < first + length; ++i) {
      codes[i] = static_cast<std::uint8_t>(std::ranges::lower_bound(middle, values[i] * inverse) - middle.begin());
    }
  }
}

template <class To>
void dequantize_nf4(const std::uint8_t* codes, const float* scales, std::int64_t count, To* to, bool by_avx2) {
  const BlockLoop<std::uint8_t, To> write = by_avx2 ? nf4_values_by_avx2<To> : kNf4Values<To>;
  at::parallel_for(0, (count + kBlock - 1) / kBlock, kGrain / kBlock, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t length = std::min(end * kBlock, count) - begin * kBlock;
    by_chunks(
        codes + begin * kBytes, kBytes, length, to + begin * kBlock,
        [&](std::int64_t block, const std::uint8_t* from, To* into) { write(from, scales[begin + block], into); });
  });
}

template <class To>
void dequantize_rows(const std::int8_t* codes, const float* scales, std::int64_t rows, std::int64_t length, To* to,
                     bool by_avx2) {
  const BlockLoop<std::int8_t, To> write = by_avx2 ? int8_values_by_avx2<To> : int8_values<To>;
  at::parallel_for(0, rows, std::max<std::int64_t>(1, kGrain / length), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      by_chunks(codes + row * length, kBlock, length, to + row * length,
                [&](std::int64_t, const std::int8_t* from, To* into) { write(from, scales[row], into); });
    }
  });
}

template void dequantize_nf4(const std::uint8_t*, const float*, std::int64_t, float*, bool);
template void dequantize_nf4(const std::uint8_t*, const float*, std::int64_t, double*, bool);
template void dequantize_nf4(const std::uint8_t*, const float*, std::int64_t, Bf16*, bool);
template void dequantize_nf4(const std::uint8_t*, const float*, std::int64_t, Fp16*, bool);
template void dequantize_rows(const std::int8_t*, const float*, std::int64_t, std::int64_t, float*, bool);
template void dequantize_rows(const std::int8_t*, const float*, std::int64_t, std::int64_t, double*, bool);
template void dequantize_rows(const std::int8_t*, const float*, std::int64_t, std::int64_t, Bf16*, bool);
template void dequantize_rows(const std::int8_t*, const float*, std::int64_t, std::int64_t, Fp16*, bool);

}  // namespace lshdp::model
