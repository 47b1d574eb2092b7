// Peak memory of a rank that has stages of a pipeline.
#pragma once
#include <cstdint>
#include <span>

#include "block_costs.h"
#include "lshdp/plan/strategy.h"

namespace lshdp::plan {

/// Blocks of a stage, and how many micro-batches it may hold at a time.
struct HeldStage {
  BlockRange range;
  std::int64_t in_flight = 1;
};

/// By what the bytes are for.
struct RankBytes {
  std::int64_t state = 0;        // parameters, gradients, the optimizer's moments, what gradients are received into
  std::int64_t activations = 0;  // of the micro-batches in flight
  std::int64_t messages = 0;     // what is sent to and received from the stages beside
  std::int64_t working = 0;      // in the backward of one block: the gradients of its output and its input
  std::int64_t total() const { return state + activations + messages + working; }
};

/// Bytes a parameter of the model takes on each of `holders` ranks: as ddp keeps them, the optimizer's state cut into
/// `holders` shards (make_replicated_store).
double state_bytes_per_parameter(const Strategy& strategy, std::size_t holders);

/// Of a rank with these stages of one replica, whose micro-batches have at most `samples`. Blocks are held by `holders`
/// ranks each.
RankBytes rank_bytes(const BlockCosts& costs, const Strategy& strategy, std::span<const HeldStage> stages,
                     std::int64_t samples, std::size_t holders);

}  // namespace lshdp::plan
