// Image files decoded to bytes: the pixels that Pillow gives for Image.convert, upright.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lshdp/core/error.h"

namespace lshdp::data {

struct Image {
  std::int64_t channels = 0, height = 0, width = 0;
  std::vector<std::uint8_t> pixels;  // [C, H, W]
  bool had_16_bits = false;          // each value is the upper byte of what the file holds
};

/// A file that cannot be decoded: damaged, or of a kind that is not read. `cause()` is the message without the file.
class ImageError : public UsageError {
 public:
  ImageError(const std::string& name, const std::string& cause) : UsageError(name + ": " + cause), cause_(cause) {}
  const std::string& cause() const { return cause_; }

 private:
  std::string cause_;
};

/// As Pillow: more would be a file made to fill memory.
inline constexpr std::int64_t kMaxPixels = 178'956'970;

/// A JPEG, PNG or WebP file (told by its bytes) as `channels` 1 (grey) or 3 (RGB). Turned upright as its EXIF or XMP
/// orientation says; transparency is dropped; of an animation, the first picture. `name` is for messages. Throws
/// ImageError: another kind of file, damage, image data that end early, more than `max_pixels`.
Image decode_image(std::string_view content, const std::string& name, int channels,
                   std::int64_t max_pixels = kMaxPixels);

/// Resized, bilinear and antialiased, rounded to whole values.
Image resized(const Image& image, std::int64_t height, std::int64_t width);

/// torchvision's Resize(shorter) and CenterCrop(size): the shorter side becomes `shorter` pixels, then the middle
/// `size` x `size` are cut out. `size` is at most `shorter`.
Image centre_crop(const Image& image, std::int64_t shorter, std::int64_t size);

}  // namespace lshdp::data
