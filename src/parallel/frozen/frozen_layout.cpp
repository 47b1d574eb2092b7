// Places of frozen parameters by mode and by how they are held.
#include "frozen/frozen_layout.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "layout/arena.h"
#include "layout/host_arena.h"
#include "lshdp/model/quantized.h"
#include "lshdp/parallel/placement.h"

namespace lshdp::parallel {
namespace {

constexpr std::size_t kSlots = 2;

std::int64_t aligned(std::int64_t count) { return (count + kAlignment - 1) / kAlignment * kAlignment; }

/// By block: whether others borrow from it.
std::vector<bool> lenders(const model::Model& model) {
  std::vector<bool> lends(model.blocks.size());
  for (const auto& block : model.blocks) {
    for (const std::string& name : block->borrowed()) lends[model.owner_of(name).block] = true;
  }
  return lends;
}

FrozenPlace place_of(const model::Parameter& parameter, bool streams) {
  if (parameter.trainable) return FrozenPlace::trained;
  if (parameter.held != model::BasePrecision::full) return FrozenPlace::quantized;
  return streams ? FrozenPlace::streamed : FrozenPlace::resident;
}

FrozenBlock lay_out(const model::Block& block, bool streams) {
  FrozenBlock laid;
  const auto& parameters = block.parameters();
  laid.begins.resize(parameters.size());
  for (const model::Parameter& parameter : parameters) laid.places.push_back(place_of(parameter, streams));
  const auto append = [&](FrozenPlace place, std::int64_t& count) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (laid.places[i] != place) continue;
      laid.begins[i] = count;
      count += aligned(parameters[i].count());
    }
  };
  append(FrozenPlace::resident, laid.resident);
  append(FrozenPlace::streamed, laid.in_slot);
  laid.streamed = laid.in_slot;
  append(FrozenPlace::quantized, laid.in_slot);
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (laid.places[i] == FrozenPlace::quantized)
      laid.quantized_bytes += model::quantized_bytes(parameters[i].shape, parameters[i].held);
  }
  return laid;
}

}  // namespace

FrozenLayout::FrozenLayout(const model::Model& model, const StoreOptions& options)
    : type_(compute_type(options.strategy.precision)), slot_of_(model.blocks.size()) {
  const std::vector<bool> lends = lenders(model);
  const bool mode_streams = plan::traits_of(options.strategy.mode).streams;
  std::size_t turn = 0;
  for (std::size_t index = 0; index < model.blocks.size(); ++index) {
    const bool streams = mode_streams && !lends[index] && index >= options.strategy.resident.value_or(0);
    FrozenBlock& block = blocks_.emplace_back(lay_out(*model.blocks[index], streams));
    block.held = options.placement == nullptr || options.placement->holds(index);
    if (!block.held || block.in_slot == 0) continue;
    slot_of_[index] = turn++ % kSlots;
    slots_.resize(kSlots, 0);
    slots_[slot_of_[index]] = std::max(slots_[slot_of_[index]], block.in_slot);
  }
}

std::int64_t FrozenLayout::host_bytes() const {
  std::int64_t bytes = 0;
  for (const FrozenBlock& block : blocks_) bytes += block.held ? HostArena::bytes_of(block.streamed, type_) : 0;
  return bytes;
}

StoreMemory FrozenLayout::memory() const {
  StoreMemory memory;
  const auto size = static_cast<std::int64_t>(at::elementSize(type_));
  for (const FrozenBlock& block : blocks_) {
    if (block.held) memory.device.parameters += block.resident * size + block.quantized_bytes;
  }
  for (const std::int64_t count : slots_) memory.device.parameters += count * size;
  memory.host.parameters = host_bytes();
  return memory;
}

}  // namespace lshdp::parallel
