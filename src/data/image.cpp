// Image files to planes of bytes: finds the decoder, converts colours, turns upright, resizes through ATen.
#include "image.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include "decoded.h"
#include "lshdp/core/file_kind.h"
#include "lshdp/core/text.h"

namespace lshdp::data {
namespace {

struct Decoder {
  FileFormat::Id format;
  const char* name;
  Decoded (*decode)(std::string_view content, std::int64_t max_pixels);
};

constexpr Decoder kDecoders[] = {{FileFormat::Id::jpeg, "JPEG", decode_jpeg},
                                 {FileFormat::Id::png, "PNG", decode_png},
                                 {FileFormat::Id::webp, "WebP", decode_webp}};

/// Why a file of `format` is not decoded.
std::string refusal_of(const FileFormat& format) {
  if (format.name.empty()) return "is neither a JPEG, a PNG nor a WebP image";
  if (format.sort == FileFormat::Sort::image) return fmt::format("is {}; convert it to PNG or JPEG", format.name);
  return fmt::format("is {}, not an image{}{}", format.name, format.remedy.empty() ? "" : "; ", format.remedy);
}

/// Pillow's grey of an RGB pixel.
std::uint8_t grey(const std::uint8_t* rgb) {
  return static_cast<std::uint8_t>((rgb[0] * 19595U + rgb[1] * 38470U + rgb[2] * 7471U + 0x8000U) >> 16);
}

std::vector<std::uint8_t> to_grey(const std::vector<std::uint8_t>& rgb) {
  std::vector<std::uint8_t> result(rgb.size() / 3);
  for (std::size_t i = 0; i < result.size(); ++i) result[i] = grey(&rgb[3 * i]);
  return result;
}

/// Where the upright picture's pixel (y, x) lies in the stored one: first + y * down + x * right.
struct Walk {
  std::int64_t first, down, right;
};

Walk walk_of(int orientation, std::int64_t height, std::int64_t width) {
  const std::int64_t last = height * width - 1, last_row = (height - 1) * width;
  switch (orientation) {
    case 2:
      return {width - 1, width, -1};
    case 3:
      return {last, -width, -1};
    case 4:
      return {last_row, -width, 1};
    case 5:
      return {0, 1, width};
    case 6:
      return {last_row, 1, -width};
    case 7:
      return {last, -1, -width};
    case 8:
      return {width - 1, -1, width};
    default:
      return {0, width, 1};
  }
}

/// One plane per channel, upright; a grey picture fills all channels.
Image upright_planes(const Decoded& decoded, int channels) {
  const bool turned = decoded.orientation >= 5;
  Image image{channels,
              turned ? decoded.width : decoded.height,
              turned ? decoded.height : decoded.width,
              {},
              decoded.had_16_bits};
  image.pixels.resize(static_cast<std::size_t>(channels * image.height * image.width));
  const Walk walk = walk_of(decoded.orientation, decoded.height, decoded.width);
  std::uint8_t* to = image.pixels.data();
  for (std::int64_t c = 0; c < channels; ++c) {
    const std::uint8_t* from = decoded.pixels.data() + (decoded.channels == 1 ? 0 : c);
    for (std::int64_t y = 0; y < image.height; ++y) {
      std::int64_t at = (walk.first + y * walk.down) * decoded.channels;
      for (std::int64_t x = 0; x < image.width; ++x, at += walk.right * decoded.channels) *to++ = from[at];
    }
  }
  return image;
}

Image cut_out(const Image& image, std::int64_t top, std::int64_t left, std::int64_t size) {
  Image result{image.channels, size, size, {}, image.had_16_bits};
  result.pixels.reserve(static_cast<std::size_t>(image.channels * size * size));
  for (std::int64_t c = 0; c < image.channels; ++c) {
    for (std::int64_t y = top; y < top + size; ++y) {
      const std::uint8_t* row = image.pixels.data() + (c * image.height + y) * image.width + left;
      result.pixels.insert(result.pixels.end(), row, row + size);
    }
  }
  return result;
}

}  // namespace

void require_size(std::int64_t width, std::int64_t height, std::int64_t max_pixels) {
  if (width < 1 || height < 1) throw DecodeError("it has no pixels");
  if (width > max_pixels / height)
    throw DecodeError(fmt::format("it has {} x {} pixels, more than {}", width, height, format_count(max_pixels)));
}

Image decode_image(std::string_view content, const std::string& name, int channels, std::int64_t max_pixels) {
  if (content.empty()) throw ImageError(name, "the file is empty");
  const FileFormat format = format_of(content.substr(0, kHeadBytes));
  const Decoder* decoder = std::ranges::find(kDecoders, format.id, &Decoder::format);
  if (decoder == std::end(kDecoders)) throw ImageError(name, refusal_of(format));
  try {
    Decoded decoded = decoder->decode(content, max_pixels);
    if (channels == 1 && decoded.channels == 3) {
      decoded.pixels = to_grey(decoded.pixels);
      decoded.channels = 1;
    }
    return upright_planes(decoded, channels);
  } catch (const DecodeError& error) {
    throw ImageError(name, fmt::format("cannot decode as {}: {}", decoder->name, error.what()));
  }
}

Image resized(const Image& image, std::int64_t height, std::int64_t width) {
  if (image.height == height && image.width == width) return image;
  at::Tensor pixels = at::empty({1, image.channels, image.height, image.width}, at::kByte);
  std::copy(image.pixels.begin(), image.pixels.end(), pixels.mutable_data_ptr<std::uint8_t>());
  pixels = at::_upsample_bilinear2d_aa(pixels.to(at::kFloat), {height, width}, /*align_corners=*/false, std::nullopt,
                                       std::nullopt)
               .round_()
               .clamp_(0, 255)
               .to(at::kByte)
               .contiguous();
  const auto* first = pixels.const_data_ptr<std::uint8_t>();
  return {image.channels, height, width, {first, first + pixels.numel()}, image.had_16_bits};
}

Image centre_crop(const Image& image, std::int64_t shorter, std::int64_t size) {
  const bool wide = image.width > image.height;
  const std::int64_t longer = shorter * std::max(image.width, image.height) / std::min(image.width, image.height);
  const Image scaled = wide ? resized(image, shorter, longer) : resized(image, longer, shorter);
  // To the even number where the middle lies between two pixels, as Python rounds.
  const auto middle = [&](std::int64_t length) {
    return static_cast<std::int64_t>(std::nearbyint(static_cast<double>(length - size) / 2));
  };
  return cut_out(scaled, middle(scaled.height), middle(scaled.width), size);
}

}  // namespace lshdp::data
