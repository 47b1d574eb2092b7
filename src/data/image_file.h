// Image files decoded to bytes.
#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

namespace lshdp::data {

struct Image {
  std::int64_t channels = 0, height = 0, width = 0;
  std::vector<std::uint8_t> pixels;  // [C, H, W]
};

/// Decodes a PNG or JPEG file to `channels` (1: grey, 3: RGB), without transparency. Throws UsageError.
Image read_image(const std::filesystem::path& path, int channels);

/// Resized to a square, bilinear and antialiased, rounded to whole values.
Image resized(const Image& image, std::int64_t size);

}  // namespace lshdp::data
