// safetensors files: named tensors, as torchvision's and Hugging Face's weights are exchanged.
// Format: 8 bytes little-endian length of the header, the header (JSON: name -> dtype, shape, data_offsets), the
// tensors' bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "lshdp/model/tensor_source.h"

namespace lshdp::model {

using NamedTensors = std::map<std::string, at::Tensor>;

/// Opens a file: reads its header, and a tensor when it is asked for, in the file's type. Tensors may have any type as
/// long as nobody asks for them. Throws UsageError on a malformed or truncated file: header length, JSON, a name twice,
/// offsets that do not match the shape, overlap, leave gaps, or do not end where the file ends; and on other formats
/// that weights come in, by their names.
std::unique_ptr<TensorSource> open_safetensors(const std::filesystem::path& path);
/// All tensors of a file by name, on the CPU, in the file's type. Throws UsageError as open_safetensors().
NamedTensors read_safetensors(const std::filesystem::path& path);
/// The same for a file's content; `source` names it in messages.
NamedTensors parse_safetensors(std::span<const std::byte> content, const std::string& source);
/// What a file's header says of the file itself ("__metadata__"). Throws UsageError as open_safetensors().
std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path);

/// A tensor that is to be written.
struct TensorShape {
  std::string name;
  at::ScalarType type;
  std::vector<std::int64_t> shape;
};

/// Writes a file tensor by tensor, in any order, whole or not at all.
class SafetensorsWriter {
 public:
  /// `metadata` is what read_safetensors_metadata() will say. Throws WriteError if the disk does not take it,
  /// std::invalid_argument on a type the format lacks or a name twice.
  SafetensorsWriter(const std::filesystem::path& path, const std::vector<TensorShape>& tensors,
                    const std::map<std::string, std::string>& metadata = {});
  /// Without commit(), nothing is left of the file.
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  /// Any device and stride; converted to the type that was announced. Throws WriteError; std::invalid_argument on a
  /// name that was not announced or another shape.
  void write(const std::string& name, const at::Tensor& tensor);
  /// Brings the file to disk and gives it its name. Throws WriteError; std::logic_error if tensors are missing.
  void commit();

 private:
  void discard() noexcept;

  struct State;
  std::unique_ptr<State> state_;
};

/// Writes tensors whole or not at all, in the given order, without a second copy of them all in memory. Any device and
/// stride. Throws as SafetensorsWriter does.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors);

}  // namespace lshdp::model
