// Operations by watching blocks run on zeros.
#include "lshdp/model/operations.h"

#include <exception>
#include <memory>
#include <string_view>

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <c10/core/GradMode.h>

namespace lshdp::model {
namespace {

/// What the thread counts, since an observer of LibTorch is a function and nothing else.
struct Counted {
  double products = 0, attention = 0;
  int within_attention = 0;  // it calls products of its own, which are part of it
};
thread_local Counted counted;

double size_of(const c10::IValue& tensor, std::int64_t dimension) {
  return static_cast<double>(tensor.toTensor().size(dimension));
}

double elements_of(const c10::IValue& tensor) { return static_cast<double>(tensor.toTensor().numel()); }

/// left [.., m, k] right [.., k, n].
double product(const c10::IValue& left, const c10::IValue& right) { return 2 * elements_of(left) * size_of(right, -1); }

/// query [.., T, d], key [.., S, d], value [.., S, e].
double attention(const c10::IValue& query, const c10::IValue& key, const c10::IValue& value) {
  const double scores = elements_of(query) / size_of(query, -1) * size_of(key, -2);
  return 2 * scores * (size_of(query, -1) + size_of(value, -1));
}

/// input [B, C, space..], weight [K, C / groups, kernel..]: each element of the weight meets each place of the output.
double convolution(c10::ArrayRef<const c10::IValue> in) {
  const at::Tensor &input = in[0].toTensor(), &weight = in[1].toTensor();
  const auto stride = in[3].toIntVector(), padding = in[4].toIntVector(), dilation = in[5].toIntVector();
  std::int64_t places = input.size(0);
  for (std::size_t i = 0; i < stride.size(); ++i) {
    const auto d = static_cast<std::int64_t>(i) + 2;
    const std::int64_t reach = dilation[i] * (weight.size(d) - 1) + 1;
    places *= (input.size(d) + 2 * padding[i] - reach) / stride[i] + 1;
  }
  return 2 * static_cast<double>(places) * static_cast<double>(weight.numel());
}

double operations_of(std::string_view name, c10::ArrayRef<const c10::IValue> in) {
  if (name == "aten::mm" || name == "aten::bmm") return product(in[0], in[1]);
  if (name == "aten::addmm" || name == "aten::baddbmm") return product(in[1], in[2]);
  return name == "aten::convolution" ? convolution(in) : 0;
}

constexpr std::string_view kAttention = "aten::scaled_dot_product_attention";

std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
  const std::string_view name = function.name();
  if (name == kAttention) {
    const auto in = function.inputs();
    if (counted.within_attention++ == 0) counted.attention += attention(in[0], in[1], in[2]);
  } else if (counted.within_attention == 0) {
    counted.products += operations_of(name, function.inputs());
  }
  return nullptr;
}

void end(const at::RecordFunction& function, at::ObserverContext*) {
  if (function.name() == kAttention) --counted.within_attention;
}

/// While it lives, the operations of this thread are counted, from 0.
class Counter {
 public:
  Counter()
      : handle_(at::addThreadLocalCallback(
            at::RecordFunctionCallback(begin, end).needsInputs(true).scopes({at::RecordScope::FUNCTION}))) {
    counted = {};
  }
  ~Counter() { at::removeCallback(handle_); }
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;

 private:
  at::CallbackHandle handle_;
};

at::Tensor zeros_of(const Parameter& parameter, at::ScalarType type) {
  return at::zeros({1}, type).expand(parameter.shape);
}

std::vector<at::Tensor> zeros_for(const Model& model, const Block& block, at::ScalarType type) {
  std::vector<at::Tensor> zeros;
  for (const Parameter& parameter : block.parameters()) zeros.push_back(zeros_of(parameter, type));
  for (const std::string& name : block.borrowed()) {
    const ParameterPlace owner = model.owner_of(name);
    zeros.push_back(zeros_of(model.blocks[owner.block]->parameters()[owner.parameter], type));
  }
  return zeros;
}

void run_forward(const Model& model, const InputSpec& input, at::ScalarType type) {
  const c10::NoGradGuard no_grad;
  at::Tensor value = synthetic_batch(input, 1, 0).input;
  if (value.is_floating_point()) value = value.to(type);
  for (const auto& block : model.blocks) value = block->forward(value, zeros_for(model, *block, type));
}

/// Of a forward pass of one sample; false: a block does not run with this type.
bool count_forward(const Model& model, const InputSpec& input, at::ScalarType type) {
  const Counter counter;
  try {
    run_forward(model, input, type);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

double flops_per_sample(const Model& model) {
  InputSpec input = model.input;
  // One position tells of all: products grow with their number, attention with its square.
  const bool one_position = input.kind == InputSpec::Kind::tokens && input.other_lengths;
  const double positions = one_position ? static_cast<double>(input.context) : 1;
  if (one_position) input.context = 1;
  // In double, since products of floats go past LibTorch (linear.cpp); a program from PyTorch may be of floats alone.
  if (!count_forward(model, input, at::kDouble) && !count_forward(model, input, at::kFloat)) return 0;
  const double forward = positions * counted.products + positions * positions * counted.attention;
  const double trained = static_cast<double>(model.trained_count()) / static_cast<double>(model.parameter_count());
  return forward * (2 + trained);
}

}  // namespace lshdp::model
