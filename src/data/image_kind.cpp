// Names what lies in an image folder and is no image that can be read, by its first bytes.
#include <fmt/format.h>

#include "decoded.h"

namespace lshdp::data {
namespace {

using std::string_view_literals::operator""sv;

struct Head {
  std::string_view bytes;
  std::string_view kind;
};

/// Images of formats that are not read.
constexpr Head kImages[] = {{"GIF8"sv, "a GIF image"},
                            {"BM"sv, "a BMP image"},
                            {"II*\0"sv, "a TIFF image"},
                            {"MM\0*"sv, "a TIFF image"},
                            {"II+\0"sv, "a BigTIFF image"},
                            {"\0\0\0\x0cjP  "sv, "a JPEG 2000 image"},
                            {"\xff\x4f\xff\x51"sv, "a JPEG 2000 image"},
                            {"\0\0\0\x0cJXL "sv, "a JPEG XL image"},
                            {"\xff\x0a"sv, "a JPEG XL image"},
                            {"8BPS"sv, "a Photoshop file"},
                            {"P4\n"sv, "a PBM image"},
                            {"P5\n"sv, "a PGM image"},
                            {"P6\n"sv, "a PPM image"},
                            {"\0\0\1\0"sv, "an icon (ICO)"},
                            {"<svg"sv, "an SVG drawing"}};

/// What is no image at all.
constexpr Head kOthers[] = {{"<!DOCTYPE"sv, "an HTML page"},
                            {"<!doctype"sv, "an HTML page"},
                            {"<html"sv, "an HTML page"},
                            {"<HTML"sv, "an HTML page"},
                            {"version https://git-lfs"sv, "a pointer of Git LFS (run git lfs pull)"},
                            {"%PDF"sv, "a PDF document"},
                            {"PK\3\4"sv, "a zip archive"},
                            {"\x1f\x8b"sv, "a gzip file"},
                            {"\x89HDF"sv, "an HDF5 file"},
                            {"\x93NUMPY"sv, "a NumPy file"}};

/// HEIC and AVIF are brands of one container.
std::string_view kind_of_container(std::string_view content) {
  if (content.size() < 12 || content.substr(4, 4) != "ftyp") return {};
  const std::string_view brand = content.substr(8, 4);
  if (brand == "avif" || brand == "avis") return "an AVIF image";
  if (brand.starts_with("he") || brand == "mif1" || brand == "msf1") return "a HEIC image";
  return "a video";
}

}  // namespace

std::string describe_other_kind(std::string_view content) {
  if (content.empty()) return "the file is empty";
  std::string_view image = kind_of_container(content);
  for (const Head& head : kImages) {
    if (image.empty() && content.starts_with(head.bytes)) image = head.kind;
  }
  if (!image.empty()) return fmt::format("is {}; convert it to PNG or JPEG", image);
  for (const Head& head : kOthers) {
    if (content.starts_with(head.bytes)) return fmt::format("is {}, not an image", head.kind);
  }
  return "is neither a JPEG, a PNG nor a WebP image";
}

}  // namespace lshdp::data
