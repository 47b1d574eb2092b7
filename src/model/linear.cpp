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

Matrix matrix(const at::Tensor& tensor) { return {tensor.const_data_ptr<float>(), tensor.size(-1)}; }
Matrix transposed(Matrix m) { return {m.values, m.row_length, !m.transposed}; }

/// out [m, n] = left [m, k] right [k, n], added to what is there or in its place.
void multiply_into(const at::Tensor& out, const Matrix& left, const Matrix& right, std::int64_t k, bool add) {
  multiply(left, right, out.size(0), out.size(1), k, out.mutable_data_ptr<float>(), add);
}

/// As a matrix: all dimensions but the last are rows.
at::Tensor rows_of(const at::Tensor& tensor) { return tensor.contiguous().view({-1, tensor.size(-1)}); }

std::vector<std::int64_t> with_last(at::IntArrayRef shape, std::int64_t last) {
  std::vector<std::int64_t> changed = shape.vec();
  changed.back() = last;
  return changed;
}

/// `by_rows`: the weight is [out, in], else [in, out].
class Linear : public torch::autograd::Function<Linear> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& given_weight,
                            const std::optional<at::Tensor>& bias, bool by_rows) {
    const at::Tensor weight = given_weight.contiguous(), rows = rows_of(input);
    context->save_for_backward({rows, weight});
    context->saved_data["by_rows"] = by_rows;
    context->saved_data["has_bias"] = bias.has_value();

    const at::Tensor output = at::empty(with_last(input.sizes(), weight.size(by_rows ? 0 : 1)), input.options());
    const at::Tensor output_rows = rows_of(output);
    if (bias) output_rows.copy_(bias->expand_as(output_rows));
    const Matrix factor = by_rows ? transposed(matrix(weight)) : matrix(weight);
    multiply_into(output_rows, matrix(rows), factor, rows.size(1), bias.has_value());
    return output;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &rows = saved[0], &weight = saved[1];
    const bool by_rows = context->saved_data["by_rows"].toBool();
    const at::Tensor gradient = rows_of(gradients[0]);

    at::Tensor of_input, of_weight, of_bias;
    if (context->needs_input_grad(0)) {
      of_input = at::empty_like(rows);
      const Matrix factor = by_rows ? matrix(weight) : transposed(matrix(weight));
      multiply_into(of_input, matrix(gradient), factor, gradient.size(1), false);
      of_input = of_input.view(with_last(gradients[0].sizes(), rows.size(1)));
    }
    if (context->needs_input_grad(1)) {
      of_weight = at::empty_like(weight);
      const at::Tensor &left = by_rows ? gradient : rows, &right = by_rows ? rows : gradient;
      multiply_into(of_weight, transposed(matrix(left)), matrix(right), rows.size(0), false);
    }
    if (context->saved_data["has_bias"].toBool() && context->needs_input_grad(2)) of_bias = gradient.sum(0);
    return {of_input, of_weight, of_bias, at::Tensor()};
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
  if (suit_onednn(input, weight, bias)) return Linear::apply(input, weight, bias, true);
  return at::linear(input, weight, bias);
}

at::Tensor conv1d_layer(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  if (suit_onednn(input, weight, bias)) return Linear::apply(input, weight, std::optional(bias), false);
  // addmm keeps the gradient of `weight` in the order it is stored.
  return at::addmm(bias, input.reshape({-1, weight.size(0)}), weight).view(with_last(input.sizes(), weight.size(1)));
}

}  // namespace lshdp::model
