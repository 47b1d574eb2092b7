// A TorchScript function that was traced from a block, run operation by operation as PyTorch itself would run it.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include <ATen/core/Tensor.h>

namespace lshdp::model {

/// A function of a tensor and of parameters. LibTorch's own executor is left out: it would specialize itself to the
/// shapes of its first runs, fuse operations, which rounds differently, and hide that memory ran out.
class TracedProgram {
 public:
  /// `archive`: what torch.jit.save wrote, of a function of `inputs` tensors in float32. Throws UsageError naming
  /// `source`: no such archive, another number of inputs, control flow, random numbers, operations not known.
  TracedProgram(const std::string& archive, std::size_t inputs, const std::string& source);
  ~TracedProgram();
  TracedProgram(const TracedProgram&) = delete;
  TracedProgram& operator=(const TracedProgram&) = delete;

  /// Differentiable by autograd. Constants are taken in the floating type and on the device of `like`. Any thread may
  /// call it at any time.
  at::Tensor run(const at::Tensor& input, std::span<const at::Tensor> parameters, const at::TensorOptions& like) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lshdp::model
