// Placement: which blocks of a model this rank holds, and which ranks hold each block together.
#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "lshdp/comm/communicator.h"
#include "lshdp/model/model.h"
#include "lshdp/model/weights.h"
#include "lshdp/plan/layout.h"

namespace lshdp::parallel {

/// What `model` demands of layouts.
plan::LayoutNeeds layout_needs(const model::Model& model);

/// Ranks that hold the same blocks are a group: they sum the gradients of these blocks, share the optimizer's state of
/// them and gather their parameters. A rank may be in several groups, and holds nothing where it is in none.
class Placement {
 public:
  /// The groups of `layout` over `world`. All ranks of `world` must call it with the same layout; destroy it on all of
  /// them before `world`. Groups send as `world` does now.
  Placement(const plan::Layout& layout, comm::Communicator& world);

  /// Blocks of the same number have the same group; the same on all ranks.
  const std::vector<int>& groups() const { return groups_; }
  /// The communicator of the block's group; null: this rank does not hold the block.
  comm::Communicator* group_of(std::size_t block) const;
  bool holds(std::size_t block) const { return group_of(block) != nullptr; }
  /// A rank of `world` that holds the block.
  int first_holder(std::size_t block) const { return first_holders_[block]; }

 private:
  std::vector<int> groups_;                                         // by block
  std::vector<int> first_holders_;                                  // by block
  std::vector<std::unique_ptr<comm::Communicator>> communicators_;  // by group; null: of others
};

/// `values` of the blocks that this rank holds, without drawing or reading others: these may be too large for it. All
/// of them without a placement.
model::BlockValues values_of_held_blocks(const model::Model& model, const Placement* placement,
                                         model::BlockValues values);

}  // namespace lshdp::parallel
