// Products with weight matrices and their gradients, by oneDNN where it is faster and by LibTorch elsewhere.
#include "linear.h"

#include <optional>
#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "onednn.h"

namespace lshdp::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// `tensor` [rows, columns], of which it or its transpose is contiguous.
Matrix matrix(const at::Tensor& tensor) {
  const bool by_rows = tensor.is_contiguous();
  return {tensor.const_data_ptr<float>(), tensor.size(by_rows ? 1 : 0), !by_rows};
}

/// out [m, n] = left [m, k] right [k, n], added to what is there or in its place. Each or its transpose is contiguous.
void multiply_into(const at::Tensor& out, const at::Tensor& left, const at::Tensor& right, bool add = false) {
  if (!out.is_contiguous()) return multiply_into(out.t(), right.t(), left.t(), add);
  multiply(matrix(left), matrix(right), out.size(0), out.size(1), left.size(1), out.mutable_data_ptr<float>(), add);
}

/// As a matrix: all dimensions but the last are rows.
at::Tensor rows_of(const at::Tensor& tensor) { return tensor.contiguous().view({-1, tensor.size(-1)}); }

std::vector<std::int64_t> with_last(at::IntArrayRef shape, std::int64_t last) {
  std::vector<std::int64_t> changed = shape.vec();
  changed.back() = last;
  return changed;
}

/// The weight [out, in] may lie by columns; its gradient then does, too.
class Linear : public torch::autograd::Function<Linear> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& given_weight,
                            const std::optional<at::Tensor>& bias) {
    const at::Tensor weight = given_weight.t().is_contiguous() ? given_weight : given_weight.contiguous();
    const at::Tensor rows = rows_of(input);
    // A weight that stays as it is wants no gradient, which alone would need the input.
    context->save_for_backward({given_weight.requires_grad() ? rows : at::Tensor(), weight});
    context->saved_data["has_bias"] = bias.has_value();

    const at::Tensor output = at::empty(with_last(input.sizes(), weight.size(0)), input.options());
    const at::Tensor output_rows = rows_of(output);
    if (bias) output_rows.copy_(bias->expand_as(output_rows));
    multiply_into(output_rows, rows, weight.t(), bias.has_value());
    return output;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &rows = saved[0], &weight = saved[1];
    const at::Tensor gradient = rows_of(gradients[0]);

    at::Tensor of_input, of_weight, of_bias;
    if (context->needs_input_grad(0)) {
      of_input = at::empty({gradient.size(0), weight.size(1)}, gradient.options());
      multiply_into(of_input, gradient, weight);
      of_input = of_input.view(with_last(gradients[0].sizes(), weight.size(1)));
    }
    if (context->needs_input_grad(1)) {
      of_weight = at::empty_like(weight);
      multiply_into(of_weight, gradient.t(), rows);
    }
    if (context->saved_data["has_bias"].toBool() && context->needs_input_grad(2)) of_bias = gradient.sum(0);
    return {of_input, of_weight, of_bias};
  }
};

bool suits_onednn(const at::Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat && tensor.numel() > 0;
}

bool suit_onednn(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  return suits_onednn(input) && suits_onednn(weight) && (!bias || suits_onednn(*bias)) && onednn_multiplies();
}

}  // namespace

at::Tensor linear_layer(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  if (suit_onednn(input, weight, bias)) return Linear::apply(input, weight, bias);
  return at::linear(input, weight, bias);
}

at::Tensor conv1d_layer(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  return linear_layer(input, weight.t(), bias);
}

}  // namespace lshdp::model
