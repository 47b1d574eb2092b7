// Times of the host.
#include "host_offload.h"

#include <algorithm>

#include "sizes.h"

namespace lshdp::explore {
namespace {

constexpr double kFloat32 = 4;

/// AdamW reads float32 gradients, reads and writes master weights and two moments, and writes 16-bit weights where
/// there are some beside those: 28 or 30 bytes (ZeRO-Offload, arXiv 2101.06840, section 5.1). Norms are summed on the
/// device.
double bytes_of_update(const Trainer& trainer, const BytesPerParameter& host, Offload offload) {
  const bool writes_half =
      trainer.param_dtype == DataType::float16 && (offload == Offload::optimizer || host.master > 0);
  return kFloat32 + 2 * kFloat32 + 4 * kFloat32 + (writes_half ? bytes_of(trainer.param_dtype) : 0);
}

}  // namespace

HostOffload::HostOffload(const StepParts& parts, const Layout& layout) : layout_(layout) {
  if (!is_used()) return;
  const Trainer& trainer = *parts.trainer;
  const Hardware& hardware = *parts.hardware;
  const BytesPerParameter host = host_bytes_per_parameter(trainer, 1, layout.offload);
  dense_share_ = 1 / number(layout.data());
  expert_share_ = number(layout.expert) / number(layout.data());
  weight_bytes_ = host.weights;
  gradient_bytes_ = bytes_of(trainer.grad_dtype);
  if (layout.offload == Offload::optimizer) updated_bytes_ = bytes_of(trainer.param_dtype);
  update_bytes_ = bytes_of_update(trainer, host, layout.offload);
  const double micro_batches = number(layout.micro_batches(*parts.model));
  if (layout.sharding >= Sharding::optimizer_states_and_grads) summed_share_ = (micro_batches - 1) / micro_batches;
  const double on_node = number(std::min(hardware.cluster.devices_per_node, layout.devices));
  const double on_link = std::min(number(hardware.cluster.devices_per_host_link), on_node);
  link_seconds_per_byte_ = on_link / (hardware.device.host_link * hardware.efficiency.host_link);
  update_seconds_per_byte_ = on_node / (hardware.cluster.host_memory_bandwidth * hardware.efficiency.host_memory);
}

double HostOffload::update(const StageParameters& parameters) const {
  const double owned = parameters.dense * dense_share_ + parameters.expert * expert_share_;
  return std::max(owned * update_bytes_ * update_seconds_per_byte_,
                  link_seconds(updated_bytes_, parameters.dense, parameters.expert));
}

double HostOffload::transfers(const StageParameters& parameters, std::int64_t micro_batches) const {
  const double m = number(micro_batches), down = gradients(parameters.dense, parameters.expert);
  const double times_down = layout_.sharding >= Sharding::optimizer_states_and_grads ? m : 1;
  // Weights come up in forward and again in backward, as they are gathered.
  const double up = 2 * m * weights(parameters.dense, parameters.expert) + m * sums(down) +
                    link_seconds(updated_bytes_, parameters.dense, parameters.expert);
  return std::max(times_down * down, up);
}

}  // namespace lshdp::explore
