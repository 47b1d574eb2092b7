// Places of parameters in buckets.
#include "layout/block_layout.h"

#include <algorithm>
#include <stdexcept>

#include <ATen/ATen.h>

namespace lshdp::parallel {

BlockLayout::BlockLayout(const model::Model& model, std::int64_t min_count, std::int64_t min_table,
                         std::span<const int> groups)
    : model_(model),
      buckets_(make_buckets(model, min_count, min_table, groups)),
      bucket_of_block_(model.blocks.size()) {
  for (std::size_t index = 0; index < buckets_.size(); ++index) {
    if (buckets_[index].table) continue;
    for (std::size_t block = buckets_[index].first_block; block <= buckets_[index].last_block; ++block)
      bucket_of_block_[block] = index;
  }
  for (std::size_t block = 0; block < model.blocks.size(); ++block) {
    places_.push_back(find_places(block));
    std::vector<std::size_t>& used = buckets_of_block_.emplace_back(1, bucket_of_block_[block]);
    for (const SlotPlace& place : places_.back()) {
      if (block == 0 && buckets_[place.bucket].table) continue;
      if (std::ranges::find(used, place.bucket) == used.end()) used.push_back(place.bucket);
    }
  }
}

std::optional<std::size_t> BlockLayout::table() const {
  if (!buckets_.back().table) return std::nullopt;
  return buckets_.size() - 1;
}

std::vector<SlotPlace> BlockLayout::find_places(std::size_t block) const {
  std::vector<SlotPlace> places(model_.blocks[block]->parameters().size());
  const std::size_t index = bucket_of_block_[block];
  const auto& slots = buckets_[index].slots;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].block == block) places[slots[i].parameter] = {index, i};
  }
  if (block == 0 && table()) places[buckets_.back().slots.front().parameter] = {*table(), 0};
  for (const std::string& name : model_.blocks[block]->borrowed()) {
    const model::ParameterPlace owner = model_.owner_of(name);
    if (owner.block >= block) throw std::logic_error("a block borrows from a later one");
    places.push_back(places_[owner.block][owner.parameter]);
  }
  return places;
}

comm::Shards BlockLayout::shards(std::size_t bucket, int ranks, std::span<const std::int64_t> weights) const {
  const Bucket& layout = buckets_[bucket];
  if (!layout.table) return make_shards(layout.count, ranks, weights);
  const std::vector<std::int64_t>& rows = shape({bucket, 0});
  comm::Shards shards = make_shards(rows[0], ranks, weights);
  for (std::int64_t& bound : shards.bounds) bound *= rows[1];
  shards.bounds.back() = layout.count;
  return shards;
}

const std::vector<std::int64_t>& BlockLayout::shape(const SlotPlace& place) const {
  const Slot& slot = buckets_[place.bucket].slots[place.slot];
  return model_.blocks[slot.block]->parameters()[slot.parameter].shape;
}

at::Tensor BlockLayout::view(const at::Tensor& arena, const SlotPlace& place) const {
  const Slot& slot = buckets_[place.bucket].slots[place.slot];
  return arena.narrow(0, slot.offset, slot.count).view(shape(place));
}

at::Tensor BlockLayout::leaf(const at::Tensor& arena, const SlotPlace& place) const {
  const at::Tensor mine = view(arena, place);
  return at::from_blob(mine.data_ptr(), mine.sizes(), mine.options()).requires_grad_(true);
}

void BlockLayout::accumulate(const at::Tensor& arena, const SlotPlace& place, const at::Tensor& gradient,
                             std::vector<bool>& touched) const {
  const at::Tensor sum = view(arena, place);
  if (touched[place.slot])
    sum.add_(gradient);
  else
    sum.copy_(gradient);
  touched[place.slot] = true;
}

void BlockLayout::clear_untouched(const at::Tensor& arena, std::size_t bucket, const std::vector<bool>& touched) const {
  const Bucket& layout = buckets_[bucket];
  for (std::size_t i = 0; i < touched.size(); ++i) {
    const Slot& slot = layout.slots[i];
    const std::int64_t begin = slot.offset + (touched[i] ? slot.count : 0);
    const std::int64_t end = i + 1 < touched.size() ? layout.slots[i + 1].offset : layout.count;
    if (begin < end) arena.narrow(0, begin, end - begin).zero_();
  }
}

void BlockLayout::take_values(const model::BlockValues& source,
                              const std::function<void(std::size_t bucket, const model::Values& values)>& visit) const {
  model::Values values(block_count());
  for (std::size_t block = 0; block < block_count(); ++block) {
    values[block] = source(block);
    for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
      const auto& slots = buckets_[bucket].slots;
      if (slots.empty() || std::ranges::max(slots, {}, &Slot::block).block != block) continue;
      visit(bucket, values);
      for (const Slot& slot : slots) values[slot.block][slot.parameter] = at::Tensor();
    }
  }
}

void BlockLayout::copy_from_values(const at::Tensor& arena, std::size_t bucket, const model::Values& values) const {
  const auto& slots = buckets_[bucket].slots;
  for (std::size_t i = 0; i < slots.size(); ++i)
    view(arena, {bucket, i}).copy_(values[slots[i].block][slots[i].parameter]);
}

void BlockLayout::take_each(const TakeValue& take, std::size_t bucket, const at::Tensor& arena) const {
  const auto& slots = buckets_[bucket].slots;
  for (std::size_t i = 0; i < slots.size(); ++i) take(slots[i].block, slots[i].parameter, view(arena, {bucket, i}));
}

void BlockLayout::append_pieces(std::vector<StatePiece>& pieces, std::size_t bucket, const ShardState& shard) const {
  const std::int64_t shard_begin = shard.begin, shard_end = shard.begin + shard.master.numel();
  for (const Slot& slot : buckets_[bucket].slots) {
    const std::int64_t begin = std::max(slot.offset, shard_begin), end = std::min(slot.offset + slot.count, shard_end);
    if (begin >= end) continue;
    const auto part = [&](const at::Tensor& tensor) { return tensor.narrow(0, begin - shard_begin, end - begin); };
    pieces.push_back({slot.block, slot.parameter, model_.blocks[slot.block]->parameters()[slot.parameter].name,
                      begin - slot.offset, part(shard.master), part(shard.first_moment), part(shard.second_moment),
                      bucket});
  }
}

}  // namespace lshdp::parallel
