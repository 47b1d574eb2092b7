// What every store does alike.
#include "lshdp/parallel/store.h"

#include <ATen/ATen.h>

#include "lshdp/core/memory.h"

namespace lshdp::parallel {

model::Values StateAccess::gather_values() {
  const HostMemoryScope host;
  model::Values values;
  gather_each([&](std::size_t block, std::size_t parameter, const at::Tensor& value) {
    if (values.size() <= block) values.resize(block + 1);
    if (values[block].size() <= parameter) values[block].resize(parameter + 1);
    values[block][parameter] = value.clone();
  });
  return values;
}

}  // namespace lshdp::parallel
