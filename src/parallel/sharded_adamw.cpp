// AdamW on one shard, by LibTorch's fused kernel.
#include "lshdp/parallel/sharded_adamw.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace lshdp::parallel {
namespace {

void update_range(ShardState& shard, const at::Tensor& gradient, std::int64_t begin, std::int64_t end,
                  double weight_decay, const AdamW& adamw, const Update& update) {
  if (begin >= end) return;
  const auto part = [&](const at::Tensor& tensor) { return tensor.narrow(0, begin, end - begin); };
  // The kernel takes the number of steps as a tensor and does not count itself.
  const at::Tensor step = at::scalar_tensor(static_cast<double>(update.step), at::kFloat);
  at::_fused_adamw_({part(shard.master)}, {part(gradient)}, {part(shard.first_moment)}, {part(shard.second_moment)}, {},
                    {step}, update.learning_rate, adamw.beta1, adamw.beta2, weight_decay, adamw.epsilon, false, false);
}

}  // namespace

ShardState make_shard_state(const at::Tensor& values, at::ScalarType master, std::int64_t begin, std::int64_t end) {
  const at::Tensor mine = values.narrow(0, begin, end - begin);
  return {begin, mine.to(master), at::zeros({end - begin}, master), at::zeros({end - begin}, master)};
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
  const at::Tensor place = shard_of(arena, shard);
  if (place.numel() > 0 && place.data_ptr() != shard.master.data_ptr()) place.copy_(shard.master);
}

void update_shard(ShardState& shard, const at::Tensor& gradient, std::int64_t decay_count, const AdamW& adamw,
                  const Update& update) {
  const std::int64_t count = shard.master.numel();
  const std::int64_t border = std::clamp<std::int64_t>(decay_count - shard.begin, 0, count);
  update_range(shard, gradient, 0, border, adamw.weight_decay, adamw, update);
  update_range(shard, gradient, border, count, adamw.decay_all ? adamw.weight_decay : 0, adamw, update);
}

}  // namespace lshdp::parallel
