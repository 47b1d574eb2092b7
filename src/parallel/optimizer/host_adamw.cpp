// The loops of the host update. Compiled for vector units by options of its own (CMakeLists.txt).
#include "optimizer/host_adamw.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>

#include <ATen/Parallel.h>

#include "lshdp/core/fp16.h"

namespace lshdp::parallel {
namespace {

// Elements that are worth a thread of their own.
constexpr std::int64_t kGrain = 1 << 15;

/// What is the same for all elements.
template <typename T>
struct Factors {
  T gradient_scale, decay, first_weight, second_decay, second_weight, second_scale, epsilon, step;
  bool towards_old;  // how at::lerp rounds: from the old value for a weight below one half, else from the gradient
};

template <typename T>
Factors<T> factors_of(double gradient_scale, double weight_decay, const AdamW& adamw, const Update& update) {
  const auto steps = static_cast<double>(update.step);
  const double first_correction = 1 - std::pow(adamw.beta1, steps),
               second_correction = 1 - std::pow(adamw.beta2, steps);
  const double weight = 1 - adamw.beta1;
  return {.gradient_scale = static_cast<T>(gradient_scale),
          .decay = static_cast<T>(1 - update.learning_rate * weight_decay),
          .first_weight = static_cast<T>(weight < 0.5 ? weight : weight - 1),
          .second_decay = static_cast<T>(adamw.beta2),
          .second_weight = static_cast<T>(1 - adamw.beta2),
          .second_scale = static_cast<T>(1 / std::sqrt(second_correction)),
          .epsilon = static_cast<T>(adamw.epsilon),
          .step = static_cast<T>(-update.learning_rate / first_correction),
          .towards_old = weight < 0.5};
}

struct None {};
using Bf16 = std::uint16_t;  // its bits: the upper half of an fp32

inline float widened(float value) { return value; }
inline double widened(double value) { return value; }
inline float widened(Bf16 value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16); }

inline void store(None*, std::int64_t, float) {}
inline void store(None*, std::int64_t, double) {}
inline void store(float* to, std::int64_t i, float value) { to[i] = value; }
inline void store(Bf16* to, std::int64_t i, float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, quiet_nan = bits >> 16 | 0x40;
  to[i] = static_cast<Bf16>((bits & 0x7fffffff) > 0x7f800000 ? quiet_nan : nearest);
}
inline void store(Fp16* to, std::int64_t i, float value) { to[i] = rounded_to_fp16(value); }

/// Pointers to a part of a range.
template <typename G, typename T, typename C>
struct Part {
  const G* gradient;
  T *master, *first, *second;
  C* copy;
  std::int64_t count;
};

template <bool TowardsOld, typename G, typename T, typename C>
[[gnu::always_inline]] inline void loop(const Part<G, T, C>& part, const Factors<T>& by) {
  const G* gradients = part.gradient;
  T *masters = part.master, *firsts = part.first, *seconds = part.second;
  C* copies = part.copy;
// They do not overlap; to test that for so many pointers is more than the compiler is willing to do.
#ifndef __clang__  // which does not know it
#pragma GCC ivdep
#endif
  for (std::int64_t i = 0; i < part.count; ++i) {
    const T gradient = widened(gradients[i]) * by.gradient_scale;
    const T first = (TowardsOld ? firsts[i] : gradient) + by.first_weight * (gradient - firsts[i]);
    const T second = by.second_decay * seconds[i] + by.second_weight * gradient * gradient;
    const T master = by.decay * masters[i] + by.step * first / (std::sqrt(second) * by.second_scale + by.epsilon);
    firsts[i] = first;
    seconds[i] = second;
    masters[i] = master;
    store(copies, i, master);
  }
}

template <typename G, typename T, typename C>
[[gnu::always_inline]] inline void either_loop(const Part<G, T, C>& part, const Factors<T>& by) {
  by.towards_old ? loop<true>(part, by) : loop<false>(part, by);
}

// One version of each for the vector units there are; the machine that runs it chooses.
#if defined(__x86_64__) && !defined(LSHDP_ONE_VERSION)
#define LSHDP_FOR_VECTOR_UNITS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LSHDP_FOR_VECTOR_UNITS
#endif
LSHDP_FOR_VECTOR_UNITS void run(const Part<float, float, None>& p, const Factors<float>& by) { either_loop(p, by); }
LSHDP_FOR_VECTOR_UNITS void run(const Part<float, float, float>& p, const Factors<float>& by) { either_loop(p, by); }
LSHDP_FOR_VECTOR_UNITS void run(const Part<float, float, Bf16>& p, const Factors<float>& by) { either_loop(p, by); }
LSHDP_FOR_VECTOR_UNITS void run(const Part<float, float, Fp16>& p, const Factors<float>& by) { either_loop(p, by); }
LSHDP_FOR_VECTOR_UNITS void run(const Part<Bf16, float, None>& p, const Factors<float>& by) { either_loop(p, by); }
LSHDP_FOR_VECTOR_UNITS void run(const Part<Bf16, float, float>& p, const Factors<float>& by) { either_loop(p, by); }
LSHDP_FOR_VECTOR_UNITS void run(const Part<Bf16, float, Bf16>& p, const Factors<float>& by) { either_loop(p, by); }
LSHDP_FOR_VECTOR_UNITS void run(const Part<Bf16, float, Fp16>& p, const Factors<float>& by) { either_loop(p, by); }
LSHDP_FOR_VECTOR_UNITS void run(const Part<double, double, None>& p, const Factors<double>& by) { either_loop(p, by); }
#undef LSHDP_FOR_VECTOR_UNITS

template <typename T>
T* pointer(const at::Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

template <typename G, typename T, typename C>
void run_on_threads(const HostRange& range, const Factors<T>& by) {
  at::parallel_for(0, range.master.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    C* copy = range.copy.defined() ? pointer<C>(range.copy) + begin : nullptr;
    run(Part<G, T, C>{pointer<G>(range.gradient) + begin, pointer<T>(range.master) + begin,
                      pointer<T>(range.first_moment) + begin, pointer<T>(range.second_moment) + begin, copy,
                      end - begin},
        by);
  });
}

template <typename G>
void run_with_copy(const HostRange& range, const Factors<float>& by) {
  if (!range.copy.defined()) return run_on_threads<G, float, None>(range, by);
  if (range.copy.scalar_type() == at::kFloat) return run_on_threads<G, float, float>(range, by);
  if (range.copy.scalar_type() == at::kHalf) return run_on_threads<G, float, Fp16>(range, by);
  run_on_threads<G, float, Bf16>(range, by);
}

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(std::string("adamw_on_host: ") + what);
}

void validate(const HostRange& range) {
  const auto type = range.master.scalar_type();
  require(type == at::kFloat || type == at::kDouble, "master weights are fp32 or fp64");
  for (const at::Tensor* tensor :
       {&range.gradient, &range.master, &range.first_moment, &range.second_moment, &range.copy}) {
    if (tensor == &range.copy && !tensor->defined()) continue;
    require(tensor->is_cpu() && tensor->is_contiguous() && tensor->numel() == range.master.numel(),
            "flat CPU tensors of one length are wanted");
  }
  require(range.first_moment.scalar_type() == type && range.second_moment.scalar_type() == type,
          "moments have the master type");
  const bool narrow = type == at::kFloat;
  require(range.gradient.scalar_type() == type || (narrow && range.gradient.scalar_type() == at::kBFloat16),
          "gradients have the master type, or are bf16 beside fp32");
  if (!range.copy.defined()) return;
  const auto copy = range.copy.scalar_type();
  require(narrow && (copy == at::kFloat || copy == at::kBFloat16 || copy == at::kHalf),
          "copies are of fp32 weights, in fp32, bf16 or fp16");
}

}  // namespace

void adamw_on_host(const HostRange& range, double gradient_scale, double weight_decay, const AdamW& adamw,
                   const Update& update) {
  validate(range);
  if (range.master.scalar_type() == at::kDouble) {
    return run_on_threads<double, double, None>(range, factors_of<double>(gradient_scale, weight_decay, adamw, update));
  }
  const auto by = factors_of<float>(gradient_scale, weight_decay, adamw, update);
  if (range.gradient.scalar_type() == at::kBFloat16) return run_with_copy<Bf16>(range, by);
  run_with_copy<float>(range, by);
}

}  // namespace lshdp::parallel
