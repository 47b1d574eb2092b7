// BlockLayout: in which bucket and slot the parameters of each block lie, borrowed ones included; views and copies by
// it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "layout/arena.h"
#include "lshdp/comm/communicator.h"
#include "lshdp/model/model.h"
#include "lshdp/model/weights.h"
#include "lshdp/parallel/store.h"
#include "optimizer/sharded_adamw.h"

namespace lshdp::parallel {

struct SlotPlace {
  std::size_t bucket = 0, slot = 0;
};

/// What all stores share: the same on all ranks. `model` must outlive it.
class BlockLayout {
 public:
  /// As make_buckets lays them out.
  BlockLayout(const model::Model& model, std::int64_t min_count, std::int64_t min_table = kNoTable,
              std::span<const int> groups = {});

  const std::vector<Bucket>& buckets() const { return buckets_; }
  std::size_t bucket_of(std::size_t block) const { return bucket_of_block_[block]; }
  /// The bucket that is the first block's table, if one is.
  std::optional<std::size_t> table() const;
  std::size_t block_count() const { return places_.size(); }
  /// Of the block's parameters, then of those it borrows.
  std::span<const SlotPlace> places(std::size_t block) const { return places_[block]; }
  /// The buckets that hold places(block), each once, its own first. The first block has no part in the table's.
  std::span<const std::size_t> buckets_of(std::size_t block) const { return buckets_of_block_[block]; }

  /// How the bucket is cut over ranks: as make_shards says, a table between its rows.
  comm::Shards shards(std::size_t bucket, int ranks, std::span<const std::int64_t> weights) const;
  const std::vector<std::int64_t>& shape(const SlotPlace& place) const;
  /// The part of `arena`, 1-D with a bucket's count, that belongs to a parameter, in its shape.
  at::Tensor view(const at::Tensor& arena, const SlotPlace& place) const;
  /// The same memory as a leaf that requires grad. Not a view of the arena for autograd: updates and gathers write to
  /// it between steps, which is none of its business.
  at::Tensor leaf(const at::Tensor& arena, const SlotPlace& place) const;

  /// Adds a gradient at its place of `arena`, or writes it there if the place is not `touched` (by slot of the bucket)
  /// yet; then it is.
  void accumulate(const at::Tensor& arena, const SlotPlace& place, const at::Tensor& gradient,
                  std::vector<bool>& touched) const;
  /// Zeroes the padding of `arena` and the parameters that are not `touched` (by slot of the bucket).
  void clear_untouched(const at::Tensor& arena, std::size_t bucket, const std::vector<bool>& touched) const;
  /// Calls visit(bucket, values) for every bucket as soon as `source` has given the blocks it needs; afterwards its
  /// values are forgotten.
  void take_values(const model::BlockValues& source,
                   const std::function<void(std::size_t bucket, const model::Values& values)>& visit) const;
  /// Copies a bucket's parameters from `values` (any floating type) into `arena`; padding is left as it is.
  void copy_from_values(const at::Tensor& arena, std::size_t bucket, const model::Values& values) const;
  /// Hands them to `take`, as views of `arena`.
  void take_each(const TakeValue& take, std::size_t bucket, const at::Tensor& arena) const;
  /// Appends the runs of parameters that `shard` holds of `bucket`.
  void append_pieces(std::vector<StatePiece>& pieces, std::size_t bucket, const ShardState& shard) const;

 private:
  std::vector<SlotPlace> find_places(std::size_t block) const;

  const model::Model& model_;
  std::vector<Bucket> buckets_;
  std::vector<std::size_t> bucket_of_block_;
  std::vector<std::vector<SlotPlace>> places_;
  std::vector<std::vector<std::size_t>> buckets_of_block_;
};

}  // namespace lshdp::parallel
