// Formats that weights come in elsewhere, known by how their files begin.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace lshdp::model {

/// So many bytes tell every format.
constexpr std::uint64_t kLongestHead = 64;

/// Throws UsageError if a file that begins with `head` is a list of shards, a pickle of PyTorch, GGUF, HDF5, NumPy, a
/// pointer of Git LFS, a web page or a compressed file, with what to give in its place.
void refuse_other_formats(std::string_view head, const std::string& source);

}  // namespace lshdp::model
