// Products with weight matrices and their gradients, by oneDNN where it is faster and by LibTorch elsewhere.
#pragma once
#include <optional>

#include <ATen/core/Tensor.h>

namespace lshdp::model {

/// torch.nn.Linear: input [.., in], weight [out, in], bias [out] or none -> [.., out]. fp32 on processors with
/// AVX2 is computed by oneDNN, which is faster than what LibTorch calls (benchmarks/linear); it cannot be
/// differentiated twice.
at::Tensor linear_layer(const at::Tensor& input, const at::Tensor& weight,
                        const std::optional<at::Tensor>& bias = std::nullopt);

/// Hugging Face's Conv1D, the same with a matrix stored the other way: weight [in, out], whose gradient lies as it
/// does.
at::Tensor conv1d_layer(const at::Tensor& input, const at::Tensor& weight,
                        const std::optional<at::Tensor>& bias = std::nullopt);

}  // namespace lshdp::model
