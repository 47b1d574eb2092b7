// safetensors files: named tensors, as torchvision's and Hugging Face's weights are exchanged.
// Format: 8 bytes little-endian length of the header, the header (JSON: name -> dtype, shape, data_offsets), the
// tensors' bytes.
#pragma once
#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace lshdp::model {

using NamedTensors = std::map<std::string, at::Tensor>;

/// All tensors of a file by name, on the CPU, in the file's type (F64, F32, F16, BF16, I64, I32, U8, BOOL).
/// Throws UsageError on a malformed or truncated file: header length, JSON, a name twice, an unknown type, offsets that
/// do not match the shape, overlap, leave gaps, or do not end where the file ends.
NamedTensors read_safetensors(const std::filesystem::path& path);
/// The same for a file's content; `source` names it in messages.
NamedTensors parse_safetensors(std::span<const std::byte> content, const std::string& source);

/// Writes tensors whole or not at all, in the given order, without a second copy of them all in memory. Any device and
/// stride. Throws WriteError if the disk does not take them, std::invalid_argument on a type the format lacks or a name
/// twice.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors);

}  // namespace lshdp::model
