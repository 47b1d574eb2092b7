// Shapes by running blocks: only they know what they make of their input.
#include "lshdp/model/shapes.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace lshdp::model {
namespace {

at::Tensor expanded_zeros(const Parameter& parameter) { return at::zeros({1}, at::kFloat).expand(parameter.shape); }

/// What the block is called with: its own parameters, then those of others.
std::vector<at::Tensor> zeros_for(const Model& model, const Block& block) {
  std::vector<at::Tensor> zeros;
  for (const Parameter& parameter : block.parameters()) zeros.push_back(expanded_zeros(parameter));
  for (const std::string& name : block.borrowed()) {
    const ParameterPlace owner = model.owner_of(name);
    zeros.push_back(expanded_zeros(model.blocks[owner.block]->parameters()[owner.parameter]));
  }
  return zeros;
}

/// Whether the shapes of a whole context follow from those of a part of it.
bool is_of_any_length(const InputSpec& input) { return input.kind == InputSpec::Kind::tokens && input.other_lengths; }

/// Of texts one token is enough: blocks keep the number of positions, and that of a context can be large.
InputSpec smallest(InputSpec input) {
  if (is_of_any_length(input)) input.context = 1;
  return input;
}

std::vector<std::int64_t> of_one_sample(const at::Tensor& tensor, const InputSpec& input) {
  std::vector<std::int64_t> shape = tensor.sizes().slice(1).vec();
  if (is_of_any_length(input)) shape.front() = input.context;
  return shape;
}

}  // namespace

std::vector<BlockShapes> shapes_of(const Model& model, std::size_t blocks) {
  const c10::NoGradGuard no_grad;
  at::Tensor value = synthetic_batch(smallest(model.input), 1, 0).input;
  std::vector<BlockShapes> shapes;
  for (std::size_t number = 0; number < blocks; ++number) {
    const Block& block = *model.blocks[number];
    const at::Tensor output = block.forward(value, zeros_for(model, block));
    shapes.push_back({of_one_sample(value, model.input), of_one_sample(output, model.input)});
    value = output;
  }
  return shapes;
}

}  // namespace lshdp::model
