// The part of a model that is trained: its blocks with their trainable parameters alone.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "lshdp/model/model.h"

namespace lshdp::model {

/// Whether some of the model's parameters are not trained.
bool is_partly_frozen(const Model& model);

/// The same blocks by number and name, without the parameters that are not trained; they compute nothing.
Model trained_part(const Model& model);

/// Bytes of the block's own parameters that are not trained, as they are held; `element_size`: of those that are held
/// as the computation takes them.
std::int64_t frozen_bytes(const Block& block, std::int64_t element_size);
/// The same of those alone that are held in few bits, as the computation takes them.
std::int64_t expanded_bytes(const Block& block, std::int64_t element_size);

/// Where each parameter of a block, its own and then those it borrows, is: with the trained ones or not.
struct ParameterSplit {
  std::vector<std::optional<std::size_t>> trained;  // by number in the model's block: that in the trained part's
  std::vector<std::size_t> numbers;                 // the reverse
};
ParameterSplit split_of(const Model& model, std::size_t block);

}  // namespace lshdp::model
