// safetensors files: named tensors, as torchvision's and Hugging Face's weights are exchanged.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace lshdp::model {

/// All tensors of a file by name, on the CPU, in the file's type (F64, F32, F16, BF16, I64, I32, U8, BOOL).
/// Throws UsageError on a malformed or truncated file: header length, JSON, offsets that overlap, leave gaps or run
/// past the end.
std::map<std::string, at::Tensor> read_safetensors(const std::filesystem::path& path);

/// Writes tensors whole or not at all, in the given order. Throws RunError if the disk does not take them.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors);

}  // namespace lshdp::model
