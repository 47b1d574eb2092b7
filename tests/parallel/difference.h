// How far two sets of parameters are apart.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include <ATen/ATen.h>

#include "lshdp/model/weights.h"

namespace lshdp::test {

/// Norm of the difference over the norm: of the worst tensor, and of all parameters together. Those that both lack do
/// not count.
inline std::pair<double, double> difference(const model::Values& a, const model::Values& b) {
  double worst = 0, difference = 0, size = 0;
  for (std::size_t block = 0; block < a.size(); ++block) {
    for (std::size_t i = 0; i < a[block].size(); ++i) {
      if (!a[block][i].defined() && !b[block][i].defined()) continue;  // it is not trained
      const double d = (a[block][i] - b[block][i]).to(at::kDouble).norm().item<double>();
      const double s = b[block][i].to(at::kDouble).norm().item<double>();
      worst = std::max(worst, d / s);
      difference += d * d;
      size += s * s;
    }
  }
  return {worst, std::sqrt(difference / size)};
}

}  // namespace lshdp::test
