// A table's part of a step, around the exchange of rows.
#include "ddp/table_rows.h"

#include <algorithm>
#include <ranges>
#include <stdexcept>
#include <utility>

#include <ATen/ATen.h>

namespace lshdp::parallel {
namespace {

std::int64_t width_of(const BlockLayout& layout) { return layout.shape({*layout.table(), 0})[1]; }

/// Shards of the table's elements in rows; the last one's padding is no row.
comm::Shards in_rows(const BlockLayout& layout, comm::Shards shards) {
  for (std::int64_t& bound : shards.bounds) bound /= width_of(layout);
  shards.bounds.back() = layout.shape({*layout.table(), 0})[0];
  return shards;
}

}  // namespace

TableRows::TableRows(const BlockLayout& layout, const comm::Shards& shards, comm::Communicator& communicator,
                     ComputeDevice& device, at::ScalarType master, at::ScalarType wire, int first_tag, int priority)
    : layout_(layout),
      device_(device),
      master_(master),
      bucket_(*layout.table()),
      parameter_(layout.buckets()[bucket_].slots.front().parameter),
      exchange_(communicator, in_rows(layout, shards), width_of(layout), wire, first_tag, priority) {}

bool TableRows::borrowed_by(std::size_t block) const {
  return std::ranges::find(layout_.buckets_of(block), bucket_) != layout_.buckets_of(block).end();
}

std::size_t TableRows::borrowers() const {
  const auto blocks = std::views::iota(std::size_t{0}, layout_.block_count());
  return static_cast<std::size_t>(std::ranges::count_if(blocks, [&](std::size_t block) { return borrowed_by(block); }));
}

at::Tensor TableRows::owned(const at::Tensor& arena, const ShardState& shard) const {
  const std::int64_t rows = exchange_.owned_count(), width = width_of(layout_);
  return shard_of(arena, shard).narrow(0, 0, rows * width).view({rows, width});
}

void TableRows::begin_step() {
  looked_up_.reset();
  gradients_.reset();
  in_step_ = false;
}

void TableRows::look_up(const at::Tensor& rows) {
  if (looked_up_.defined()) throw std::logic_error("look_up that does not follow begin_step");
  exchange_.look_up(rows);
  looked_up_ = device_.upload(rows);
}

const at::Tensor& TableRows::looked_up() const {
  if (!looked_up_.defined()) throw std::logic_error("acquire before look_up");
  return looked_up_;
}

void TableRows::begin_fetch(at::ScalarType type) {
  exchange_.know();
  if (!whole_) exchange_.expect_rows(type);
}

at::Tensor TableRows::fetch(const at::Tensor& owned) { return device_.upload(exchange_.fetch(owned.cpu())); }

void TableRows::expect_gradients() {
  arriving_ = exchange_.expect_gradients();
  in_step_ = true;
}

void TableRows::add_gradients(const at::Tensor& gradients) {
  if (gradients_.defined())
    gradients_.add_(gradients);
  else
    gradients_ = gradients.to(master_);
}

void TableRows::send_gradients() {
  if (!gradients_.defined()) gradients_ = at::zeros({looked_up_.numel(), width_of(layout_)}, master_);
  exchange_.send_gradients(std::exchange(gradients_, {}).cpu());
}

void TableRows::deliver(std::function<void()> call) {
  delivered_ = arriving_;
  delivered_->when_there(std::move(call));
  whole_ = false;
}

}  // namespace lshdp::parallel
