// One table of first bytes, and the keys of our JSON files.
#include "lshdp/core/file_kind.h"

#include <array>

#include <fmt/format.h>

namespace lshdp {
namespace {

/// The first entry of the list "ranks", or null.
const Json& first_rank(const Json& json) {
  static const Json none;
  const auto ranks = json.find("ranks");
  return ranks != json.end() && ranks->is_array() && !ranks->empty() ? ranks->front() : none;
}

using std::string_view_literals::operator""sv;
using Id = FileFormat::Id;
using Sort = FileFormat::Sort;

struct Magic {
  std::string_view bytes;
  std::size_t at;
  FileFormat format;
};

constexpr FileFormat packed(Id id, std::string_view name) { return {id, Sort::packed, name, "unpack it first"}; }
constexpr FileFormat document(std::string_view name) { return {Id::other, Sort::document, name}; }
constexpr FileFormat image(std::string_view name) { return {Id::other, Sort::image, name}; }
constexpr FileFormat other(Id id, std::string_view name) { return {id, Sort::other, name}; }
/// Its first bytes are few, or are text.
constexpr FileFormat doubtful(FileFormat format) {
  format.doubtful = true;
  return format;
}
constexpr FileFormat kPickle = doubtful(other(Id::pickle, "a pickle of Python"));
constexpr FileFormat kWebPage{Id::web_page, Sort::other, "a web page", "download the file itself", true};

constexpr std::array kMagics{
    Magic{"PK\x03\x04"sv, 0, packed(Id::zip, "a zip archive (as NumPy's .npz and PyTorch's .pt are)")},
    Magic{"\x1f\x8b\x08"sv, 0, packed(Id::gzip, "a gzip file")},
    Magic{"BZh91AY&SY"sv, 0, packed(Id::other, "a bzip2 file")},
    Magic{"\xfd"
          "7zXZ\0"sv,
          0, packed(Id::other, "an xz file")},
    Magic{"\x28\xb5\x2f\xfd"sv, 0, packed(Id::other, "a Zstandard file")},
    Magic{"7z\xbc\xaf\x27\x1c"sv, 0, packed(Id::other, "a 7-Zip archive")},
    Magic{"ustar\0"sv, 257, packed(Id::other, "a tar archive")},
    Magic{"ustar  \0"sv, 257, packed(Id::other, "a tar archive")},
    Magic{"\x89HDF\r\n\x1a\n"sv, 0, other(Id::hdf5, "an HDF5 file")},
    Magic{"\x93NUMPY"sv, 0, other(Id::numpy, "a NumPy file")},
    Magic{"MMIDIDX\0\0"sv, 0, other(Id::megatron_index, "the index of a Megatron data set")},
    Magic{"GGUF"sv, 0, doubtful(other(Id::gguf, "a GGUF file (llama.cpp)"))},
    Magic{"\x80\x02"sv, 0, kPickle},
    Magic{"\x80\x03"sv, 0, kPickle},
    Magic{"\x80\x04"sv, 0, kPickle},
    Magic{"\x80\x05"sv, 0, kPickle},
    Magic{"PAR1\x15"sv, 0, document("a Parquet file")},
    Magic{"ARROW1\0\0"sv, 0, document("an Arrow file")},
    Magic{"%PDF-"sv, 0, document("a PDF file")},
    Magic{"SQLite format 3\0"sv, 0, document("an SQLite file")},
    Magic{"version https://git-lfs"sv, 0,
          FileFormat{Id::other, Sort::other, "a pointer of Git LFS", "fetch the file itself with git lfs pull"}},
    Magic{"<!DOCTYPE"sv, 0, kWebPage},
    Magic{"<!doctype"sv, 0, kWebPage},
    Magic{"<html"sv, 0, kWebPage},
    Magic{"<HTML"sv, 0, kWebPage},
    Magic{"\x89PNG\r\n\x1a\n"sv, 0, FileFormat{Id::png, Sort::image, "a PNG image"}},
    Magic{"\xff\xd8\xff"sv, 0, FileFormat{Id::jpeg, Sort::image, "a JPEG image"}},
    Magic{"GIF8"sv, 0, doubtful(image("a GIF image"))},
    Magic{"BM"sv, 0, doubtful(image("a BMP image"))},
    Magic{"II*\0"sv, 0, doubtful(image("a TIFF image"))},
    Magic{"MM\0*"sv, 0, doubtful(image("a TIFF image"))},
    Magic{"II+\0"sv, 0, doubtful(image("a BigTIFF image"))},
    Magic{"\0\0\0\x0cjP  "sv, 0, image("a JPEG 2000 image")},
    Magic{"\xff\x4f\xff\x51"sv, 0, doubtful(image("a JPEG 2000 image"))},
    Magic{"\0\0\0\x0cJXL "sv, 0, image("a JPEG XL image")},
    Magic{"\xff\x0a"sv, 0, doubtful(image("a JPEG XL image"))},
    Magic{"8BPS"sv, 0, doubtful(image("a Photoshop file"))},
    Magic{"P4\n"sv, 0, doubtful(image("a PBM image"))},
    Magic{"P5\n"sv, 0, doubtful(image("a PGM image"))},
    Magic{"P6\n"sv, 0, doubtful(image("a PPM image"))},
    Magic{"\0\0\1\0"sv, 0, doubtful(image("an icon (ICO)"))},
    Magic{"<svg"sv, 0, doubtful(image("an SVG drawing"))},
};

bool holds_at(std::string_view head, std::size_t at, std::string_view bytes) {
  return head.size() >= at && head.substr(at).starts_with(bytes);
}

/// The length of its header in 8 bytes, less than 2^32, then a JSON object of tensors.
bool is_safetensors(std::string_view head) {
  return holds_at(head, 4, "\0\0\0\0{\""sv) && head.size() > 10 && head[10] >= ' ';
}

/// Pictures and films lie in one container, told apart by brands.
FileFormat format_of_container(std::string_view head) {
  if (!holds_at(head, 4, "ftyp")) return {};
  const std::string_view brand = head.substr(8, 4);
  if (brand == "avif" || brand == "avis") return image("an AVIF image");
  if (brand.starts_with("he") || brand == "mif1" || brand == "msf1") return image("a HEIC image");
  return other(Id::other, "a video");
}

}  // namespace

FileFormat format_of(std::string_view head) {
  // First, because its length may begin as another format does.
  if (is_safetensors(head)) return other(Id::safetensors, "a safetensors file");
  for (const Magic& magic : kMagics) {
    if (holds_at(head, magic.at, magic.bytes)) return magic.format;
  }
  if (head.starts_with("RIFF") && holds_at(head, 8, "WEBP")) return {Id::webp, Sort::image, "a WebP image"};
  return format_of_container(head);
}

std::string_view byte_order_mark(std::string_view head) {
  if (head.starts_with("\xef\xbb\xbf")) return "UTF-8";
  if (head.starts_with("\xff\xfe\0\0"sv) || head.starts_with("\0\0\xfe\xff"sv)) return "UTF-32";
  if (head.starts_with("\xff\xfe") || head.starts_with("\xfe\xff")) return "UTF-16";
  return {};
}

std::string kind_of_json(const Json& json) {
  if (!json.is_object()) return "";
  const auto has = [&](const char* key) { return json.contains(key); };
  if (has("record")) return "a record of metrics.jsonl";
  if (has("network") && has("ranks")) return "a profile";
  if (first_rank(json).contains("limited_by")) return "a result of lshdp max-batch";
  if (first_rank(json).contains("measured")) return "a result of lshdp memory";
  if (has("replicas")) return "a layout";
  if (has("batches") || first_rank(json).contains("micro_batches")) return "a plan";
  if (has("weight_map")) return "a list of weight files";
  if (has("type") || has("model_type")) return "a model's description";
  if (has("step") && has("files")) return "a checkpoint's manifest";
  return "";
}

std::string kind_of_bytes(std::string_view content) {
  const FileFormat format = format_of(content.substr(0, kHeadBytes));
  if (!format.name.empty() && (!format.doubtful || format.id == Id::web_page)) return std::string(format.name);
  const std::string_view mark = byte_order_mark(content);
  if (mark == "UTF-16" || mark == "UTF-32") return fmt::format("{} text; save it as UTF-8", mark);
  return content.find('\0') != std::string_view::npos ? "a binary file" : "";
}

void refuse_other_kind(const Json& json, std::string_view wanted, const std::string& source) {
  const std::string kind = kind_of_json(json);
  if (!kind.empty() && kind != wanted) throw UsageError(fmt::format("{}: this is {}, not {}", source, kind, wanted));
}

}  // namespace lshdp
