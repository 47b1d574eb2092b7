// Products of matrices in builds without oneDNN: LibTorch's are used throughout.
#include <stdexcept>

#include "onednn.h"

namespace lshdp::model {

bool onednn_multiplies() { return false; }

void multiply(const Matrix&, const Matrix&, std::int64_t, std::int64_t, std::int64_t, float*, bool) {
  throw std::logic_error("this build has no oneDNN");
}

}  // namespace lshdp::model
