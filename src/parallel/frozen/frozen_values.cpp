// Frozen parameters on the device; in host memory and copied one block ahead; or in few bits and expanded.
#include "frozen/frozen_values.h"

#include <stdexcept>

#include <ATen/ATen.h>

#include "layout/bucket_transfer.h"
#include "lshdp/core/clock.h"

namespace lshdp::parallel {
namespace {

/// Into the memory that is there, and was counted when it was made.
void copy_into(model::QuantizedTensor& to, const model::QuantizedTensor& from) {
  const auto copy = [](const at::Tensor& there, const at::Tensor& value) {
    if (there.defined()) there.copy_(value);
  };
  copy(to.codes, from.codes);
  copy(to.scales, from.scales);
  copy(to.levels, from.levels);
  copy(to.scale_codes, from.scale_codes);
  copy(to.scale_levels, from.scale_levels);
  to.mean_scale = from.mean_scale;
}

}  // namespace

FrozenValues::FrozenValues(const model::Model& model, const StoreOptions& options)
    : model_(model),
      device_(device_or_host(options.device)),
      type_(compute_type(options.strategy.precision)),
      layout_(model, options),
      host_memory_(layout_.host_bytes(), *device_),
      sources_(model.blocks.size()),
      used_(model.blocks.size()) {
  const at::TensorOptions there = at::TensorOptions().dtype(type_).device(device_->where());
  for (const std::int64_t count : layout_.slots()) slots_.push_back({.memory = at::empty({count}, there)});
  for (std::size_t block = 0; block < layout_.size(); ++block) {
    if (!layout_.block(block).held) continue;
    make_source(block);
    make_views(block);
    if (options.fill_frozen) options.fill_frozen(block, state(block));
  }
}

FrozenValues::~FrozenValues() { synchronize_device(*device_); }

void FrozenValues::make_source(std::size_t block) {
  const FrozenBlock& laid = layout_.block(block);
  const auto& parameters = model_.blocks[block]->parameters();
  Source& source = sources_[block];
  source.resident = at::zeros({laid.resident}, at::TensorOptions().dtype(type_).device(device_->where()));
  source.streamed = host_memory_.take(laid.streamed, type_);
  source.quantized.resize(parameters.size());
  source.expanded.resize(parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (laid.places[i] == FrozenPlace::quantized)
      source.quantized[i] = model::quantized_zeros(parameters[i].shape, parameters[i].held, device_->where());
  }
}

std::vector<at::Tensor> FrozenValues::state(std::size_t block) {
  if (!layout_.block(block).held) return {};
  Source& source = sources_[block];
  std::vector<at::Tensor> tensors{source.resident, source.streamed};
  for (std::optional<model::QuantizedTensor>& each : source.quantized) {
    if (!each) continue;
    tensors.insert(tensors.end(), {each->codes, each->scales, each->levels, each->scale_codes, each->scale_levels,
                                   at::from_blob(&each->mean_scale, {1}, at::kFloat)});
  }
  std::erase_if(tensors, [](const at::Tensor& tensor) { return !tensor.defined() || tensor.numel() == 0; });
  return tensors;
}

at::Tensor FrozenValues::part_of(const at::Tensor& memory, std::size_t block, std::size_t parameter) const {
  const model::Parameter& wanted = model_.blocks[block]->parameters()[parameter];
  return memory.narrow(0, layout_.block(block).begins[parameter], wanted.count()).view(wanted.shape);
}

void FrozenValues::make_views(std::size_t block) {
  const FrozenBlock& laid = layout_.block(block);
  for (std::size_t i = 0; i < laid.places.size(); ++i) {
    at::Tensor& used = used_[block].emplace_back();
    if (laid.places[i] == FrozenPlace::trained) continue;
    const bool resident = laid.places[i] == FrozenPlace::resident;
    const at::Tensor part = part_of(resident ? sources_[block].resident : slot_of(block).memory, block, i);
    // Not a view for autograd: what is copied in between uses is none of its business.
    used = at::from_blob(part.data_ptr(), part.sizes(), part.options());
    if (laid.places[i] == FrozenPlace::quantized)
      sources_[block].expanded[i] = at::from_blob(part.data_ptr(), part.sizes(), part.options());
  }
}

void FrozenValues::take(std::size_t block, const std::vector<at::Tensor>& values) {
  const FrozenBlock& laid = layout_.block(block);
  if (!laid.held) return;
  Source& source = sources_[block];
  for (std::size_t i = 0; i < laid.places.size(); ++i) {
    if (laid.places[i] == FrozenPlace::resident) part_of(source.resident, block, i).copy_(values[i]);
    if (laid.places[i] == FrozenPlace::streamed) part_of(source.streamed, block, i).copy_(values[i]);
    if (laid.places[i] == FrozenPlace::quantized)
      copy_into(*source.quantized[i], model::quantize(values[i].to(device_->where()), source.quantized[i]->precision));
  }
  if (wants_slot(block) && slot_of(block).holder == block) slot_of(block).holder.reset();
}

/// Begins to bring a block into its slot, behind what still reads there.
void FrozenValues::fill(std::size_t block) {
  Slot& slot = slot_of(block);
  if (slot.holder == block) return;
  if (slot.in_use) throw std::logic_error("no room for a block's parameters: release the blocks before it");
  slot.holder = block;
  expand(block);
  const at::Tensor& streamed = sources_[block].streamed;
  if (streamed.numel() == 0) return;
  const double begun = now_seconds();
  const auto bytes = static_cast<std::int64_t>(streamed.nbytes());
  slot.filled = device_->copy_in(slot.memory.data_ptr(), streamed.const_data_ptr(), bytes, slot.free);
  copied_.bytes += bytes;
  copied_.seconds += now_seconds() - begun;
}

/// By the thread that computes, so behind all that it has computed before.
void FrozenValues::expand(std::size_t block) {
  const auto& quantized = sources_[block].quantized;
  for (std::size_t i = 0; i < quantized.size(); ++i) {
    if (quantized[i]) model::dequantize_into(*quantized[i], sources_[block].expanded[i]);
  }
}

/// The copy of the next block on the way: up through the model, then down again.
void FrozenValues::fill_next(std::size_t block) {
  const bool up = block > last_block_ || block == 0;
  last_block_ = block;
  const auto step = static_cast<std::size_t>(up ? 1 : -1);
  for (std::size_t next = block + step; next < layout_.size(); next += step) {
    if (!wants_slot(next)) continue;
    if (layout_.block(next).streamed > 0 && !slot_of(next).in_use) fill(next);
    return;
  }
}

void FrozenValues::acquire(std::size_t block) {
  if (wants_slot(block)) {
    fill(block);
    slot_of(block).in_use = true;
    device_->wait_event(slot_of(block).filled);
  }
  fill_next(block);
}

void FrozenValues::release(std::size_t block) {
  if (!wants_slot(block)) return;
  slot_of(block).in_use = false;
  slot_of(block).free = device_->record_event();
}

}  // namespace lshdp::parallel
