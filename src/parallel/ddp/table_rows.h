// TableRows: what a table adds to the steps of a store that keeps it whole: the rows looked up travel ahead of it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include <ATen/core/Tensor.h>

#include "ddp/row_exchange.h"
#include "layout/block_layout.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/core/device.h"
#include "optimizer/sharded_adamw.h"

namespace lshdp::parallel {

/// For the thread that computes; there() and add_arrived() for the one that updates. All ranks make the same calls. In
/// each step: begin_step(), look_up(), begin_fetch(), fetch() where the table is not whole, expect_gradients(),
/// add_gradients() for each micro-batch, send_gradients(), deliver().
class TableRows {
 public:
  /// The table of `layout`, whose rows `shards` (of its bucket) divide between their owners. Gradients are summed as
  /// `master` and travel as `wire`. Has RowExchange::kTags tags. What is given must outlive it.
  TableRows(const BlockLayout& layout, const comm::Shards& shards, comm::Communicator& communicator,
            ComputeDevice& device, at::ScalarType master, at::ScalarType wire, int first_tag, int priority);

  std::size_t bucket() const { return bucket_; }
  /// Of the first block.
  std::size_t parameter() const { return parameter_; }
  const SlotPlace& place() const { return layout_.places(0)[parameter_]; }
  /// Whether that block borrows the table, as the head does with a tied embedding; and how many do.
  bool borrowed_by(std::size_t block) const;
  std::size_t borrowers() const;
  /// This rank's rows in `arena`, the table's, of which `shard` is this rank's: [rows, width].
  at::Tensor owned(const at::Tensor& arena, const ShardState& shard) const;

  void begin_step();
  /// Throws std::logic_error unless it follows begin_step(), std::invalid_argument on anything but rising rows.
  void look_up(const at::Tensor& rows);
  /// [K], on the device. Throws std::logic_error before look_up().
  const at::Tensor& looked_up() const;
  /// Waits until the others' rows are known; where the table is not whole posts the receives of a fetch of that type.
  void begin_fetch(at::ScalarType type);
  /// `owned`: this rank's rows after the update. Returns the rows looked up, [K, width], on the device.
  at::Tensor fetch(const at::Tensor& owned);
  /// Posts the receives of the step's gradients; from then on the step has its rows.
  void expect_gradients();
  bool in_step() const { return in_step_; }
  /// [K, width], added to those of this step so far.
  void add_gradients(const at::Tensor& gradients);
  /// Zeros, if there were none.
  void send_gradients();

  /// The step's table travels: `call` runs when all ranks' gradients of rows are there.
  void deliver(std::function<void()> call);
  /// Whether add_arrived() would not wait, and adds the gradients delivered last to owned().
  bool there() const { return delivered_->there(); }
  void add_arrived(const at::Tensor& owned) { delivered_->add_to(owned); }

  /// Whether the table is whole on every rank, since the last call that all ranks made together.
  bool whole() const { return whole_; }
  void set_whole() { whole_ = true; }

 private:
  const BlockLayout& layout_;
  ComputeDevice& device_;
  at::ScalarType master_;
  std::size_t bucket_, parameter_;
  RowExchange exchange_;
  at::Tensor looked_up_;  // undefined before look_up()
  at::Tensor gradients_;  // of this step so far, [K, width]
  bool in_step_ = false, whole_ = true;
  std::shared_ptr<ArrivingRows> arriving_;   // of this step
  std::shared_ptr<ArrivingRows> delivered_;  // of the step whose table was delivered last
};

}  // namespace lshdp::parallel
