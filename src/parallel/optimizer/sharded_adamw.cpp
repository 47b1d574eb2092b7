// AdamW on one shard, in one pass over its memory.
#include "optimizer/sharded_adamw.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "optimizer/host_adamw.h"

namespace lshdp::parallel {
namespace {

/// What one update does to all of a shard.
struct ShardUpdate {
  const ShardState& shard;
  at::Tensor gradient, copy;
  double gradient_scale;
  const AdamW& adamw;
  const Update& update;
};

/// LibTorch's fused kernel: one pass as well. It reads the step from a tensor. Its own scale of gradients is fp32 at
/// best, so a scale that is not 1 takes a pass.
void adamw_on_device(const HostRange& range, double gradient_scale, double weight_decay, const AdamW& adamw,
                     const Update& update) {
  const at::Tensor step = at::full({}, static_cast<double>(update.step), range.master.options().dtype(at::kFloat));
  at::Tensor gradient = range.gradient.to(range.master.scalar_type());
  if (gradient_scale != 1) gradient = gradient.mul(gradient_scale);
  at::_fused_adamw_({range.master}, {gradient}, {range.first_moment}, {range.second_moment}, {}, {step},
                    update.learning_rate, adamw.beta1, adamw.beta2, weight_decay, adamw.epsilon,
                    /*amsgrad=*/false, /*maximize=*/false);
  if (range.copy.defined()) range.copy.copy_(range.master);
}

/// Elements [begin, end) of the shard, all of the same run.
void update_range(const ShardUpdate& all, std::int64_t begin, std::int64_t end, const UpdateRun& run) {
  if (begin >= end) return;
  const auto part = [&](const at::Tensor& tensor) { return tensor.narrow(0, begin, end - begin); };
  const HostRange range{part(all.gradient), part(all.shard.master), part(all.shard.first_moment),
                        part(all.shard.second_moment), all.copy.defined() ? part(all.copy) : at::Tensor()};
  const auto adamw_there = range.master.is_cpu() ? adamw_on_host : adamw_on_device;
  Update update = all.update;
  update.learning_rate *= run.rate;
  const bool decays = run.decay || all.adamw.decay_all;
  adamw_there(range, all.gradient_scale, decays ? all.adamw.weight_decay : 0, all.adamw, update);
}

/// Where the shard's parameters are wanted in `arena`; undefined if they are there already.
at::Tensor place_of_copy(const at::Tensor& arena, const ShardState& shard) {
  if (!arena.defined() || shard.master.numel() == 0) return {};
  const at::Tensor place = shard_of(arena, shard);
  return place.data_ptr() == shard.master.data_ptr() ? at::Tensor() : place;
}

}  // namespace

ShardState make_shard_state(const at::Tensor& values, at::ScalarType master, std::int64_t begin, std::int64_t end) {
  const at::Tensor mine = values.narrow(0, begin, end - begin);
  const at::TensorOptions options = values.options().dtype(master);
  return {begin, mine.to(master), at::zeros({end - begin}, options), at::zeros({end - begin}, options)};
}

void reset_shard(ShardState& shard, const at::Tensor& arena) {
  shard.master.copy_(shard_of(arena, shard));
  shard.first_moment.zero_();
  shard.second_moment.zero_();
}

at::Tensor shard_of(const at::Tensor& arena, const ShardState& shard) {
  return arena.narrow(0, shard.begin, shard.master.numel());
}

void copy_master_to(const at::Tensor& arena, const ShardState& shard) {
  const at::Tensor place = place_of_copy(arena, shard);
  if (place.defined()) place.copy_(shard.master);
}

void update_shard(ShardState& shard, const at::Tensor& gradient, std::span<const UpdateRun> runs, const AdamW& adamw,
                  const Update& update, double gradient_scale, const at::Tensor& arena) {
  const std::int64_t count = shard.master.numel();
  const ShardUpdate all{shard, gradient, place_of_copy(arena, shard), gradient_scale, adamw, update};
  std::int64_t begin = 0;
  for (const UpdateRun& run : runs) {
    const std::int64_t end = std::clamp<std::int64_t>(run.end - shard.begin, begin, count);
    update_range(all, begin, end, run);
    begin = end;
  }
}

}  // namespace lshdp::parallel
