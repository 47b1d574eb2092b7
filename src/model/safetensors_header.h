// The header of a safetensors file: parsed strictly, or made for given tensors.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lshdp/model/safetensors.h"

namespace lshdp::model {

/// One tensor of a file: its bytes are [begin, end) of what follows the header.
struct SafetensorsEntry {
  std::string name;
  std::string type_name;
  std::optional<at::ScalarType> type;  // none: one that LibTorch does not have; its bytes are not looked at
  std::vector<std::int64_t> shape;
  std::uint64_t begin, end;
};

/// The entries in the order of their bytes, which they fill from 0 to `data_bytes` without gap. Throws UsageError.
std::vector<SafetensorsEntry> parse_safetensors_header(std::string_view header, std::uint64_t data_bytes,
                                                       const std::string& source);

/// Where the tensors of a new file will lie, one after the other. Throws std::invalid_argument on a type the format
/// lacks or a name twice.
std::vector<SafetensorsEntry> place_tensors(const std::vector<TensorShape>& tensors);

/// The header of that file, padded to whole 8 bytes.
std::string make_safetensors_header(const std::vector<SafetensorsEntry>& entries,
                                    const std::map<std::string, std::string>& metadata);

}  // namespace lshdp::model
