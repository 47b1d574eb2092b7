// A table of magic numbers.
#include "file_head.h"

#include <array>
#include <string_view>

namespace lshdp::data {
namespace {

using std::string_view_literals::operator""sv;

struct Magic {
  std::string_view bytes;
  std::size_t at;
  const char *name, *remedy;
};

constexpr const char *kUnpack = "unpack it first", *kExport = "write its text or tokens to a plain file first",
                     *kNotText = "it holds no text";

constexpr std::array kMagics{
    Magic{"PK\x03\x04"sv, 0, "a zip archive (as NumPy's .npz and PyTorch's .pt are)", kUnpack},
    Magic{"\x1f\x8b\x08"sv, 0, "a gzip file", kUnpack},
    Magic{"BZh91AY&SY"sv, 0, "a bzip2 file", kUnpack},
    Magic{"\xfd"
          "7zXZ\0"sv,
          0, "an xz file", kUnpack},
    Magic{"\x28\xb5\x2f\xfd"sv, 0, "a Zstandard file", kUnpack},
    Magic{"7z\xbc\xaf\x27\x1c"sv, 0, "a 7-Zip archive", kUnpack},
    Magic{"ustar\0"sv, 257, "a tar archive", kUnpack},
    Magic{"ustar  \0"sv, 257, "a tar archive", kUnpack},
    Magic{"\x89HDF\r\n\x1a\n"sv, 0, "an HDF5 file",
          "a data set that lshdp data wrote needs no conversion; see lshdp data info"},
    Magic{"\x93NUMPY"sv, 0, "a NumPy file", "lshdp data tokens reads it"},
    Magic{"MMIDIDX\0\0"sv, 0, "the index of a Megatron data set", "give its .bin file to lshdp data tokens"},
    Magic{"PAR1\x15"sv, 0, "a Parquet file", kExport},
    Magic{"ARROW1\0\0"sv, 0, "an Arrow file", kExport},
    Magic{"%PDF-"sv, 0, "a PDF file", kExport},
    Magic{"SQLite format 3\0"sv, 0, "an SQLite file", kExport},
    Magic{"\x89PNG\r\n\x1a\n"sv, 0, "a PNG image", kNotText},
    Magic{"\xff\xd8\xff\xe0"sv, 0, "a JPEG image", kNotText},
    Magic{"\xff\xd8\xff\xe1"sv, 0, "a JPEG image", kNotText},
};

std::string_view text_of(std::span<const std::byte> head) {
  return {reinterpret_cast<const char*>(head.data()), head.size()};
}

/// A length of 8 bytes, then a JSON object of tensors.
bool is_safetensors(std::string_view head) {
  return head.size() > 10 && head.substr(8).starts_with("{\"") && head.substr(5, 3) == "\0\0\0"sv;
}

}  // namespace

FileFormat format_of(std::span<const std::byte> head) {
  const std::string_view text = text_of(head);
  for (const Magic& magic : kMagics) {
    if (text.size() >= magic.at && text.substr(magic.at).starts_with(magic.bytes)) return {magic.name, magic.remedy};
  }
  if (is_safetensors(text)) return {"a safetensors file", kExport};
  return {};
}

std::string byte_order_mark(std::span<const std::byte> head) {
  const std::string_view text = text_of(head);
  if (text.starts_with("\xef\xbb\xbf")) return "UTF-8";
  if (text.starts_with("\xff\xfe\0\0"sv) || text.starts_with("\0\0\xfe\xff"sv)) return "UTF-32";
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) return "UTF-16";
  return {};
}

}  // namespace lshdp::data
