// Bytes of parameters, activations and messages.
#include "stage_memory.h"

#include <algorithm>

namespace lshdp::plan {
namespace {

constexpr std::int64_t kSlots = 2;  // that blocks in few bits are expanded into by turns (FrozenValues)

/// Of one micro-batch's sample, from forward to backward: with recompute only what each block read.
std::int64_t kept_bytes(const BlockCosts& costs, const Strategy& strategy, BlockRange range) {
  return strategy.recompute ? costs.read_bytes(range) : costs.activation_bytes(range);
}

/// Beside that, while one block runs backward.
std::int64_t working_bytes(const BlockCosts& costs, const Strategy& strategy, BlockRange range) {
  const std::int64_t gradients = 2 * costs.largest_output(range);
  return strategy.recompute ? gradients + costs.largest_activation(range) : gradients;
}

}  // namespace

double state_bytes_per_parameter(const Strategy& strategy, std::size_t holders) {
  const double master = strategy.precision == Precision::fp64 ? 8 : 4;
  const bool mixed = strategy.precision == Precision::bf16 || strategy.precision == Precision::fp16;
  const bool rounded = strategy.wire == Wire::bf16;
  const double share = 1 / static_cast<double>(holders);
  const double values = mixed ? 2 : master, gradients = master;
  const double sharded = 2 * master + (mixed || rounded ? master : 0);  // moments, and master weights
  const double changes = rounded ? 2 : 0;
  const double received = (rounded ? 2 : master) * (1 - share);
  return values + gradients + changes + sharded * share + received;
}

RankBytes rank_bytes(const BlockCosts& costs, const Strategy& strategy, std::span<const HeldStage> stages,
                     std::int64_t samples, std::size_t holders) {
  RankBytes bytes;
  std::int64_t parameters = 0, frozen = 0, expanded = 0;
  for (const HeldStage& stage : stages) {
    parameters += costs.parameters(stage.range);
    frozen += costs.frozen_bytes(stage.range);
    expanded = std::max(expanded, costs.largest_expanded(stage.range));
    bytes.activations += stage.in_flight * samples * kept_bytes(costs, strategy, stage.range);
    bytes.messages += 2 * samples * (costs.input_bytes(stage.range) + costs.sent_bytes(stage.range));
    bytes.working = std::max(bytes.working, samples * working_bytes(costs, strategy, stage.range));
  }
  bytes.state =
      frozen + kSlots * expanded +
      static_cast<std::int64_t>(state_bytes_per_parameter(strategy, holders) * static_cast<double>(parameters));
  return bytes;
}

}  // namespace lshdp::plan
