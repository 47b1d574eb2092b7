// The orientation of a picture in its EXIF and XMP data, read as Pillow reads it.
#include "decoded.h"

namespace lshdp::data {
namespace {

/// Numbers of a TIFF structure; 0 beyond its end.
class TiffBytes {
 public:
  TiffBytes(std::string_view bytes, bool big_endian) : bytes_(bytes), big_endian_(big_endian) {}

  std::uint32_t number(std::size_t at, int size) const {
    if (at > bytes_.size() || bytes_.size() - at < static_cast<std::size_t>(size)) return 0;
    std::uint32_t value = 0;
    for (int i = 0; i < size; ++i) {
      const std::size_t place = at + static_cast<std::size_t>(big_endian_ ? i : size - 1 - i);
      value = value << 8 | static_cast<unsigned char>(bytes_[place]);
    }
    return value;
  }

 private:
  std::string_view bytes_;
  bool big_endian_;
};

constexpr std::uint32_t kOrientationTag = 0x0112, kShort = 3, kLong = 4;

}  // namespace

std::optional<int> orientation_of_exif(std::string_view exif) {
  constexpr std::string_view prefix("Exif\0\0", 6);
  while (exif.starts_with(prefix)) exif.remove_prefix(prefix.size());
  const bool big_endian = exif.starts_with(std::string_view("MM\0*", 4));
  if (!big_endian && !exif.starts_with(std::string_view("II*\0", 4))) return std::nullopt;
  const TiffBytes tiff(exif, big_endian);
  const std::size_t directory = tiff.number(4, 4);
  const std::uint32_t entries = tiff.number(directory, 2);
  for (std::uint32_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * static_cast<std::size_t>(i);
    if (tiff.number(entry, 2) != kOrientationTag) continue;
    const std::uint32_t type = tiff.number(entry + 2, 2);
    if (type != kShort && type != kLong) return std::nullopt;
    return static_cast<int>(tiff.number(entry + 8, type == kShort ? 2 : 4) & 0xffff);
  }
  return std::nullopt;
}

std::optional<int> orientation_of_xmp(std::string_view xmp) {
  constexpr std::string_view key = "tiff:Orientation";
  for (std::size_t at = xmp.find(key); at != std::string_view::npos; at = xmp.find(key, at + 1)) {
    std::string_view rest = xmp.substr(at + key.size());
    if (rest.starts_with("=\"")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with(">")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest.front() >= '0' && rest.front() <= '9') return rest.front() - '0';
  }
  return std::nullopt;
}

int orientation_of(std::string_view exif, std::string_view xmp) {
  std::optional<int> orientation = orientation_of_exif(exif);
  if (!orientation) orientation = orientation_of_xmp(xmp);
  return orientation && *orientation >= 1 && *orientation <= 8 ? *orientation : 1;
}

}  // namespace lshdp::data
