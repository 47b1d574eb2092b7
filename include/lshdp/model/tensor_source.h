// TensorSource: named tensors that lie somewhere and are read one by one.
#pragma once
#include <set>
#include <string>

#include <ATen/core/Tensor.h>

namespace lshdp::model {

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  /// What messages call it: a file or a folder.
  virtual const std::string& where() const = 0;
  virtual const std::set<std::string>& names() const = 0;
  /// One of names(), on the CPU, in its own type. Throws UsageError if it cannot be read.
  virtual at::Tensor read(const std::string& name) = 0;
};

}  // namespace lshdp::model
