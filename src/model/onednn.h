// oneDNN's product of fp32 matrices on the CPU, where this build has it.
#pragma once
#include <cstdint>

namespace lshdp::model {

/// A row-major matrix, or its transpose.
struct Matrix {
  const float* values = nullptr;
  std::int64_t row_length = 0;  // elements between one row and the next, as stored
  bool transposed = false;
};

/// Whether multiply() may be called: the build has oneDNN and this processor AVX2. Below that its kernels are no faster
/// than LibTorch's. Throws RunError where the library cannot be loaded.
bool onednn_multiplies();

/// out [m, n] = left [m, k] right [k, n], added to what is there if `add`. All sizes are positive. The same bits each
/// time, for the same number of threads. Throws std::bad_alloc, and RunError with oneDNN's status.
void multiply(const Matrix& left, const Matrix& right, std::int64_t m, std::int64_t n, std::int64_t k, float* out,
              bool add);

}  // namespace lshdp::model
