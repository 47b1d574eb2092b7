// Comparing what two runs saved.
#pragma once
#include <algorithm>
#include <string>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "lshdp/model/safetensors.h"

namespace lshdp::test {

/// Largest norm of the difference over the norm, of any tensor of the two files.
inline double worst_difference(const std::string& a, const std::string& b) {
  const auto first = model::read_safetensors(a), second = model::read_safetensors(b);
  EXPECT_EQ(first.size(), second.size());
  double worst = 0;
  for (const auto& [name, tensor] : first) {
    const at::Tensor& other = second.at(name);
    worst = std::max(
        worst, at::linalg_vector_norm(tensor - other).item<double>() / at::linalg_vector_norm(other).item<double>());
  }
  return worst;
}

}  // namespace lshdp::test
