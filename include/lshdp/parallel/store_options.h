// StoreOptions: what a store needs to know, in any mode.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lshdp/core/device.h"
#include "lshdp/parallel/loss_scaler.h"
#include "lshdp/parallel/store.h"
#include "lshdp/plan/strategy.h"

namespace lshdp::parallel {

class Placement;

using plan::Mode;
using plan::Strategy;

/// The same on all ranks, but for strategy.resident, placement and device.
struct StoreOptions {
  /// resident: none stands for 0. wire, of ddp: with bf16 each rank's gradients travel in bf16 and are added in fp32,
  /// and fp32 parameters follow their master weights by changes in bf16, the same on every rank; what one rounding
  /// leaves out goes with the next.
  Strategy strategy = {};
  AdamW adamw = {};
  std::int64_t bucket_bytes = 256 << 10;  // blocks are put together until their gradients have this many bytes
  /// ddp: from this size on (in gradients), a table that the first block looks rows up in and a later one uses whole
  /// has a bucket of its own, summed from what later blocks give, early in backward, and gathered for them, late in
  /// forward; the rows looked up travel by themselves at the step's boundary. Not over a communicator that moves device
  /// memory: it would have to keep an order that rows do not.
  std::int64_t table_bytes = 4 << 20;
  /// ddp, fsdp: by rank, shards in proportion (what links carry, the ranks' memory), maybe empty; none: equal shards.
  std::vector<std::int64_t> shard_weights = {};
  /// lsdp: by rank: ranks of the same name share a node; none: the names of their hosts.
  std::vector<std::string> node_names = {};
  /// ddp: where the blocks lie; none: all of them on all ranks.
  std::shared_ptr<const Placement> placement = nullptr;
  /// ddp: what the store begins with, in place of zeros; none: zeros. Each is called while the store is made, as soon
  /// as the memory of a bucket or a block is there: what it is filled from may go at once. publish() must follow.
  std::function<void(std::span<const StatePiece>)> fill_trained = {};
  std::function<void(std::size_t block, std::span<const at::Tensor> state)> fill_frozen = {};
  LossScaling loss_scaling = {};                    // fp16
  std::shared_ptr<ComputeDevice> device = nullptr;  // that this rank computes on; without one: the host
};

}  // namespace lshdp::parallel
