// The moves of the loss scale.
#include "lshdp/parallel/loss_scaler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>

namespace lshdp::parallel {
namespace {

void require_scale(double scale) {
  int exponent = 0;
  if (!(scale >= 1 && scale <= LossScaler::kLargest) || std::frexp(scale, &exponent) != 0.5)
    throw std::invalid_argument("a loss scale must be a power of two from 1 to 2^32");
}

}  // namespace

LossScaler::LossScaler(const LossScaling& scaling) : growth_interval_(scaling.growth_interval) {
  if (growth_interval_ < 1) throw std::invalid_argument("a loss scale grows after at least one good step");
  set_state({.scale = scaling.initial});
}

void LossScaler::set_state(const LossScale& state) {
  require_scale(state.scale);
  if (state.good_steps < 0 || state.skipped_steps < 0) throw std::invalid_argument("a negative number of steps");
  state_ = state;
}

void LossScaler::end_step(bool finite) {
  if (!finite) {
    state_ = {std::max(1.0, state_.scale / 2), 0, state_.skipped_steps + 1};
  } else if (++state_.good_steps >= growth_interval_) {
    state_ = {std::min(kLargest, state_.scale * 2), 0, state_.skipped_steps};
  }
}

std::optional<LossScaler> make_loss_scaler(Precision precision, const LossScaling& scaling) {
  if (precision != Precision::fp16) return std::nullopt;
  return LossScaler(scaling);
}

double scale_of_summed_loss(double scale, std::int64_t global_terms) {
  return scale /
         static_cast<double>(std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(1, global_terms))));
}

}  // namespace lshdp::parallel
