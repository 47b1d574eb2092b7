// Broadcasts of one tensor after the other.
#include "lshdp/parallel/shared_values.h"

#include <string>

#include <ATen/ATen.h>

#include "lshdp/comm/agree.h"

namespace lshdp::parallel {
namespace {

bool is_wide(const at::Tensor& value) { return value.scalar_type() == at::kDouble; }

/// One letter for each tensor: d for float64, f for float32.
std::string types_of(const std::vector<at::Tensor>& values) {
  std::string types;
  for (const at::Tensor& value : values) types += is_wide(value) ? 'd' : 'f';
  return types;
}

at::Tensor broadcast(comm::Communicator& communicator, const at::Tensor& value) {
  const at::Tensor plain = value.to(is_wide(value) ? at::kDouble : at::kFloat).contiguous();
  const comm::DataType type = is_wide(value) ? comm::DataType::float64 : comm::DataType::float32;
  if (plain.numel() > 0) communicator.broadcast({plain.data_ptr(), plain.numel(), type}, 0).wait();
  return plain;
}

}  // namespace

model::BlockValues values_of_rank_0(comm::Communicator& communicator, const model::Model& model,
                                    const model::BlockValues& read) {
  return [&communicator, &model, read](std::size_t block) {
    std::vector<at::Tensor> values;
    const std::string types = comm::on_rank_0(communicator, [&] {
      values = read(block);
      return types_of(values);
    });
    const auto& parameters = model.blocks[block]->parameters();
    for (std::size_t i = values.size(); i < parameters.size(); ++i)
      values.push_back(at::empty(parameters[i].shape, types[i] == 'd' ? at::kDouble : at::kFloat));
    for (at::Tensor& value : values) value = broadcast(communicator, value);
    return values;
  };
}

}  // namespace lshdp::parallel
