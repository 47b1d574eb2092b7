// What positions of documents mean for attention.
#include <limits>

#include <ATen/ATen.h>

#include "lshdp/model/block.h"

namespace lshdp::model {

Documents documents_of(const at::Tensor& positions, at::ScalarType compute_type) {
  if (!positions.defined()) return {};
  const std::int64_t samples = positions.size(0), length = positions.size(1);
  const at::Tensor index = at::arange(length, positions.options());
  const at::Tensor row = index.view({1, length, 1}), column = index.view({1, 1, length});
  const at::Tensor begin = row - positions.unsqueeze(2);  // of each row's document
  const at::Tensor hidden = column.gt(row).logical_or(column.lt(begin));
  const at::Tensor mask = at::zeros({samples, length, length}, positions.options().dtype(compute_type))
                              .masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  return {positions, mask.unsqueeze(1)};
}

at::Tensor part_of(const at::Tensor& positions, std::int64_t begin, std::int64_t count) {
  return positions.defined() ? positions.narrow(0, begin, count) : at::Tensor();
}

}  // namespace lshdp::model
