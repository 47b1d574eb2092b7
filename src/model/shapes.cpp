// Running blocks on one sample to see what they give.
#include "lshdp/model/shapes.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace lshdp::model {
namespace {

/// Zeros of the parameter's shape that take no memory.
at::Tensor zeros_like(const Parameter& parameter) { return at::zeros({1}).expand(parameter.shape); }

std::vector<at::Tensor> parameters_of(const Model& model, const Block& block) {
  std::vector<at::Tensor> zeros;
  for (const Parameter& parameter : block.parameters()) zeros.push_back(zeros_like(parameter));
  for (const std::string& name : block.borrowed()) {
    const ParameterPlace owner = model.owner_of(name);
    zeros.push_back(zeros_like(model.blocks[owner.block]->parameters()[owner.parameter]));
  }
  return zeros;
}

}  // namespace

std::vector<std::vector<std::int64_t>> output_shapes(const Model& model, std::size_t blocks) {
  const c10::NoGradGuard no_grad;
  std::vector<std::vector<std::int64_t>> shapes;
  at::Tensor x = synthetic_batch(model.input, 1, 0).input;
  for (std::size_t block = 0; block < blocks; ++block) {
    x = model.blocks[block]->forward(x, parameters_of(model, *model.blocks[block]));
    shapes.push_back(x.sizes().vec());
  }
  return shapes;
}

}  // namespace lshdp::model
