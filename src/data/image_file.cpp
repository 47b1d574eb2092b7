// PNG and JPEG through stb_image; resizing through ATen, as for training.
#include "image_file.h"

#include <limits>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/core/file.h"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 65536
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace lshdp::data {
namespace {

/// From interleaved to one plane per channel.
Image planar(const std::uint8_t* interleaved, int channels, int height, int width) {
  Image image{channels, height, width, {}};
  const std::size_t plane = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  const auto stride = static_cast<std::size_t>(channels);
  image.pixels.resize(plane * stride);
  for (std::size_t c = 0; c < stride; ++c) {
    for (std::size_t i = 0; i < plane; ++i) image.pixels[c * plane + i] = interleaved[i * stride + c];
  }
  return image;
}

}  // namespace

Image read_image(const std::filesystem::path& path, int channels) {
  const std::string content = read_file(path);
  if (content.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    throw UsageError(fmt::format("cannot decode {}: it is larger than 2 GiB", path.string()));
  }
  int width = 0, height = 0, stored = 0;
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> pixels(
      stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(content.data()), static_cast<int>(content.size()), &width,
                            &height, &stored, channels),
      stbi_image_free);
  if (!pixels) {
    throw UsageError(fmt::format("cannot decode {} as PNG or JPEG: {}", path.string(), stbi_failure_reason()));
  }
  return planar(pixels.get(), channels, height, width);
}

Image resized(const Image& image, std::int64_t size) {
  if (image.height == size && image.width == size) return image;
  at::Tensor pixels = at::empty({1, image.channels, image.height, image.width}, at::kByte);
  std::copy(image.pixels.begin(), image.pixels.end(), pixels.mutable_data_ptr<std::uint8_t>());
  pixels = at::_upsample_bilinear2d_aa(pixels.to(at::kFloat), {size, size}, /*align_corners=*/false, std::nullopt,
                                       std::nullopt)
               .round_()
               .clamp_(0, 255)
               .to(at::kByte)
               .contiguous();
  const auto* first = pixels.const_data_ptr<std::uint8_t>();
  return {image.channels, size, size, {first, first + pixels.numel()}};
}

}  // namespace lshdp::data
