// A contiguous shard of an arena with its master weights and AdamW moments, and the update of that shard.
#pragma once
#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include "layout/arena.h"
#include "lshdp/parallel/store.h"

namespace lshdp::parallel {

/// Elements [begin, begin + master.numel()) of an arena and what their owner keeps for them, all 1-D in the master
/// type.
struct ShardState {
  std::int64_t begin = 0;
  at::Tensor master;  // a view of the arena where that has the master type already
  at::Tensor first_moment, second_moment;
};

/// The state of elements [begin, end) of `values`; master weights are copied from it, moments are zero.
ShardState make_shard_state(const at::Tensor& values, at::ScalarType master, std::int64_t begin, std::int64_t end);
/// Sets the master weights from `arena` (whole, any floating type) and clears the moments.
void reset_shard(ShardState& shard, const at::Tensor& arena);
/// The shard's elements of `arena`, as a view.
at::Tensor shard_of(const at::Tensor& arena, const ShardState& shard);
/// Writes the master weights into their place in `arena`, rounded to its type; nothing to do where they are a view of
/// it.
void copy_master_to(const at::Tensor& arena, const ShardState& shard);
/// One AdamW step on the shard with `gradient_scale` times `gradient` (master type, or bf16 beside fp32; the shard's
/// length), which gives its mean over the global batch. `runs`: Bucket::runs of the arena; those without decay do so
/// only with adamw.decay_all. If `arena` is defined, the new master weights are copied to their place in it, as by
/// copy_master_to.
void update_shard(ShardState& shard, const at::Tensor& gradient, std::span<const UpdateRun> runs, const AdamW& adamw,
                  const Update& update, double gradient_scale = 1, const at::Tensor& arena = {});

}  // namespace lshdp::parallel
