// The heads of files that are given for safetensors.
#include "other_formats.h"

#include <array>

#include <fmt/format.h>

#include "lshdp/core/error.h"

namespace lshdp::model {
namespace {

struct Format {
  std::string_view head;
  std::string_view words;
};

constexpr std::string_view kPickle =
    "a file that PyTorch wrote (torch.save), which can hold programs; in Python: "
    "safetensors.torch.save_file(torch.load(FILE, weights_only=True), \"w.safetensors\"), and give that file";

constexpr std::array<Format, 14> kFormats{{
    {"PK\x03\x04", kPickle},
    {"\x80\x02", kPickle},
    {"\x80\x03", kPickle},
    {"\x80\x04", kPickle},
    {"\x80\x05", kPickle},
    {"GGUF", "a GGUF file (llama.cpp); give the safetensors file it was made from"},
    {"\x89HDF\r\n",
     "an HDF5 file: a data set, a part of a checkpoint, or weights of Keras; give a safetensors file, or "
     "the checkpoint's folder"},
    {"\x93NUMPY", "a NumPy file; give a safetensors file"},
    {"version https://git-lfs", "a pointer of Git LFS, not the file itself; fetch it with git lfs pull"},
    {"<!DOCTYPE", "a web page; download the file itself"},
    {"<!doctype", "a web page; download the file itself"},
    {"<html", "a web page; download the file itself"},
    {"\x1f\x8b", "a gzip file; unpack it first"},
    {"\x28\xb5\x2f\xfd", "a Zstandard file; unpack it first"},
}};

/// A safetensors file begins with its header's length: '{' is the first byte of one in 256, but seven more bytes of
/// text make a length that no file has.
bool is_json(std::string_view head) {
  const std::size_t begin = head.find_first_not_of(" \t\r\n");
  return begin != std::string_view::npos && head[begin] == '{' && head.size() >= 8 && head[7] != '\0';
}

}  // namespace

void refuse_other_formats(std::string_view head, const std::string& source) {
  for (const Format& format : kFormats) {
    if (head.starts_with(format.head)) throw UsageError(fmt::format("{} is {}", source, format.words));
  }
  if (is_json(head))
    throw UsageError(
        fmt::format("{} is JSON and holds no weights; give a safetensors file, its folder, or a list of shards "
                    "(model.safetensors.index.json)",
                    source));
}

}  // namespace lshdp::model
