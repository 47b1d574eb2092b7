// Times small products: what the processor says of itself does not tell what the libraries make of it.
#include "half_speed.h"

#include <algorithm>
#include <limits>

#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>

#include "lshdp/core/clock.h"

namespace lshdp::measure {
namespace {

constexpr std::int64_t kSize = 256;
constexpr int kRepeats = 4;  // the first of which prepares; the quickest counts

double product_seconds(at::ScalarType type) {
  const c10::InferenceMode no_gradients;
  const at::Tensor matrix = at::ones({kSize, kSize}, type);
  double quickest = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRepeats; ++i) {
    const double begun = now_seconds();
    at::matmul(matrix, matrix);
    if (i > 0) quickest = std::min(quickest, now_seconds() - begun);
  }
  return quickest;
}

}  // namespace

double product_slowness(plan::Precision precision) {
  const at::ScalarType type = parallel::compute_type(precision);
  if (type != at::kBFloat16 && type != at::kHalf) return 1;
  return product_seconds(type) / product_seconds(at::kFloat);
}

}  // namespace lshdp::measure
