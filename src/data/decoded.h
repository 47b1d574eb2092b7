// What the decoders of single formats give, and the orientation that EXIF and XMP data ask for.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace lshdp::data {

/// An image as its format stores it.
struct Decoded {
  std::int64_t height = 0, width = 0;
  std::int64_t channels = 0;         // 1: grey, 3: RGB
  std::vector<std::uint8_t> pixels;  // [H, W, C]
  int orientation = 1;               // EXIF's: 1 to 8
  bool had_16_bits = false;
};

/// Why a file cannot be decoded.
class DecodeError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws DecodeError if there are no pixels or more than `max_pixels`.
void require_size(std::int64_t width, std::int64_t height, std::int64_t max_pixels);

// Each throws DecodeError.
Decoded decode_jpeg(std::string_view content, std::int64_t max_pixels);
Decoded decode_png(std::string_view content, std::int64_t max_pixels);
Decoded decode_webp(std::string_view content, std::int64_t max_pixels);

/// The orientation in EXIF data (with or without "Exif\0\0" in front), if it is there.
std::optional<int> orientation_of_exif(std::string_view exif);
/// The orientation in an XMP packet, if it is there.
std::optional<int> orientation_of_xmp(std::string_view xmp);
/// EXIF's if it has one, else XMP's; 1 (upright) without either, or where it is none of 1 to 8.
int orientation_of(std::string_view exif, std::string_view xmp);

}  // namespace lshdp::data
