// LossScaler: how much larger the loss is made so that its gradients fit into fp16, and how that follows overflows.
#pragma once
#include <cstdint>
#include <optional>

#include "lshdp/parallel/precision.h"

namespace lshdp::parallel {

/// How the scale moves (Micikevicius et al., arXiv 1710.03740, section 3.2, with a scale found as training goes).
struct LossScaling {
  double initial = 65536;               // a power of two from 1 to LossScaler::kLargest
  std::int64_t growth_interval = 2000;  // the scale doubles after so many good steps in a row, at least 1
};

/// Where a run stands; what a checkpoint keeps of it.
struct LossScale {
  double scale = 1;
  std::int64_t good_steps = 0;     // in a row since the scale changed
  std::int64_t skipped_steps = 0;  // since the run began
};

/// The scale halves after a step whose gradients overflowed, which nobody may have applied, and doubles after a row of
/// good ones. It stays a power of two, so that scaling rounds nothing, and within [1, kLargest]; at 1, an overflow is
/// not the scale's fault. All ranks have the same one, as long as they judge steps alike: by the norm over all ranks.
class LossScaler {
 public:
  static constexpr double kLargest = 0x1p32;

  /// Throws std::invalid_argument on figures that LossScaling does not allow.
  explicit LossScaler(const LossScaling& scaling = {});
  const LossScale& state() const { return state_; }
  /// Throws std::invalid_argument for a scale that LossScaling does not allow, or negative counts.
  void set_state(const LossScale& state);
  /// A step is over. `finite`: no gradient of it overflowed, on any rank.
  void end_step(bool finite);

 private:
  std::int64_t growth_interval_;
  LossScale state_;
};

/// The scaler of a run; none where the precision needs none.
std::optional<LossScaler> make_loss_scaler(Precision precision, const LossScaling& scaling);

/// What backward multiplies the gradient of the loss *summed* over samples with, if the scale is `scale`: the largest
/// power of two not above scale / global_terms.
///
/// Parameters' gradients are sums over the terms of a micro-batch, and so overflow first. Divided by the terms of the
/// step they have the size of the mean gradient times the scale, whatever the batch (the last, smaller one of an epoch
/// included) and however it is split: a scale that fits one step fits the next. Multiplied with a power of two, nothing
/// is rounded but what underflows.
double scale_of_summed_loss(double scale, std::int64_t global_terms);

}  // namespace lshdp::parallel
