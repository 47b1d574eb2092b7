// The host's part in a step: transfers between a device and its host, and the update in host memory.
#pragma once
#include "step_clock.h"

namespace lshdp::explore {

/// Of one layout, in seconds. Parameters are those of a device before data parallel ranks share them out: each rank
/// moves and updates its own part (ZeRO-Infinity, arXiv 2104.07857, section 6.1). A link carries as much up to the
/// device as down from it at the same time. All are 0 without offload.
class HostOffload {
 public:
  HostOffload(const StepParts& parts, const Layout& layout);

  bool is_used() const { return layout_.offload != Offload::none; }
  /// Shards of weights to the device, where they are in host memory.
  double weights(double dense, double expert) const { return link_seconds(weight_bytes_, dense, expert); }
  /// Gradients to the host. With shares of gradients these go down in each micro-batch, and from the second on their
  /// sum comes up first, to be added to (DeepSpeed, runtime/zero/stage3.py, partition_grads).
  double gradients(double dense, double expert) const { return link_seconds(gradient_bytes_, dense, expert); }
  /// What comes up for that, of as many seconds of gradients() in a micro-batch in the mean.
  double sums(double gradients) const { return gradients * summed_share_; }
  /// AdamW in host memory, once all gradients are there; updated weights go to the device tile by tile beside it
  /// (ZeRO-Offload, arXiv 2101.06840, section 5.1), where they stay.
  double update(const StageParameters& parameters) const;
  /// That the busier direction of the link carries in a step, hidden or not.
  double transfers(const StageParameters& parameters, std::int64_t micro_batches) const;

 private:
  double link_seconds(double bytes, double dense, double expert) const {
    return bytes * (dense * dense_share_ + expert * expert_share_) * link_seconds_per_byte_;
  }

  const Layout& layout_;
  double dense_share_ = 0, expert_share_ = 0;                                            // that one rank owns
  double weight_bytes_ = 0, gradient_bytes_ = 0, updated_bytes_ = 0, update_bytes_ = 0;  // a parameter
  double summed_share_ = 0;
  double link_seconds_per_byte_ = 0, update_seconds_per_byte_ = 0;
};

}  // namespace lshdp::explore
