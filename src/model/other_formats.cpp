// The heads of files that are given for safetensors.
#include "other_formats.h"

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file_kind.h"

namespace lshdp::model {
namespace {

using Id = FileFormat::Id;

constexpr std::string_view kPickle =
    "a file that PyTorch wrote (torch.save), which can hold programs; in Python: "
    "safetensors.torch.save_file(torch.load(FILE, weights_only=True), \"w.safetensors\"), and give that file";

/// The format, and what to give in its place.
std::string words_of(const FileFormat& format) {
  switch (format.id) {
    case Id::zip:
    case Id::pickle:
      return std::string(kPickle);
    case Id::gguf:
      return fmt::format("{}; give the safetensors file it was made from", format.name);
    case Id::hdf5:
      return fmt::format(
          "{}: a data set, a part of a checkpoint, or weights of Keras; give a safetensors file, or the checkpoint's "
          "folder",
          format.name);
    default:
      return fmt::format("{}; {}", format.name, format.remedy.empty() ? "give a safetensors file" : format.remedy);
  }
}

/// A safetensors file begins with its header's length: '{' is the first byte of one in 256, but seven more bytes of
/// text make a length that no file has.
bool is_json(std::string_view head) {
  const std::size_t begin = head.find_first_not_of(" \t\r\n");
  return begin != std::string_view::npos && head[begin] == '{' && head.size() >= 8 && head[7] != '\0';
}

}  // namespace

void refuse_other_formats(std::string_view head, const std::string& source) {
  const FileFormat format = format_of(head);
  // What says that it is a safetensors file is told by its own damage.
  if (!format.name.empty() && format.id != Id::safetensors)
    throw UsageError(fmt::format("{} is {}", source, words_of(format)));
  if (is_json(head))
    throw UsageError(
        fmt::format("{} is JSON and holds no weights; give a safetensors file, its folder, or a list of shards "
                    "(model.safetensors.index.json)",
                    source));
}

}  // namespace lshdp::model
