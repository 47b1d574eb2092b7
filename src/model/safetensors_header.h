// The header of a safetensors file: parsed strictly, or made for given tensors.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace lshdp::model {

/// One tensor of a file: its bytes are [begin, end) of what follows the header.
struct SafetensorsEntry {
  std::string name;
  at::ScalarType type;
  std::vector<std::int64_t> shape;
  std::uint64_t begin, end;
};

/// The entries in the order of their bytes, which they fill from 0 to `data_bytes` without gap. Throws UsageError.
std::vector<SafetensorsEntry> parse_safetensors_header(std::string_view header, std::uint64_t data_bytes,
                                                       const std::string& source);

/// The header of a file that holds `tensors` one after the other, padded to whole 8 bytes.
std::string make_safetensors_header(const std::vector<std::pair<std::string, at::Tensor>>& tensors);

}  // namespace lshdp::model
