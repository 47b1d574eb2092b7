// WebP through libwebp; of an animation, the first picture.
#include <memory>

#include <webp/decode.h>
#include <webp/demux.h>

#include "decoded.h"

namespace lshdp::data {
namespace {

/// The data of the file's first chunk of this name, if there is one.
std::string chunk(const WebPDemuxer* demuxer, const char* name) {
  WebPChunkIterator found;
  std::string result;
  if (WebPDemuxGetChunk(demuxer, name, 1, &found) != 0)
    result.assign(reinterpret_cast<const char*>(found.chunk.bytes), found.chunk.size);
  WebPDemuxReleaseChunkIterator(&found);
  return result;
}

/// Bytes that the header says the file has.
std::size_t announced_size(std::string_view content) {
  std::size_t size = 8;
  for (std::size_t i = 0; i < 4; ++i)
    size += static_cast<std::size_t>(static_cast<unsigned char>(content[4 + i])) << (8 * i);
  return size;
}

std::vector<std::uint8_t> without_alpha(const std::uint8_t* rgba, std::size_t pixels) {
  std::vector<std::uint8_t> rgb(3 * pixels);
  for (std::size_t i = 0; i < pixels; ++i) {
    for (std::size_t c = 0; c < 3; ++c) rgb[3 * i + c] = rgba[4 * i + c];
  }
  return rgb;
}

}  // namespace

Decoded decode_webp(std::string_view content, std::int64_t max_pixels) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(content.data());
  WebPBitstreamFeatures features;
  if (content.size() < announced_size(content)) throw DecodeError("the file ends early");
  if (WebPGetFeatures(bytes, content.size(), &features) != VP8_STATUS_OK) throw DecodeError("its header is damaged");
  require_size(features.width, features.height, max_pixels);
  const WebPData data{bytes, content.size()};
  WebPAnimDecoderOptions options;
  WebPAnimDecoderOptionsInit(&options);
  options.color_mode = MODE_RGBA;
  const std::unique_ptr<WebPAnimDecoder, decltype(&WebPAnimDecoderDelete)> decoder(WebPAnimDecoderNew(&data, &options),
                                                                                   WebPAnimDecoderDelete);
  std::uint8_t* rgba = nullptr;
  int time = 0;
  if (!decoder || WebPAnimDecoderGetNext(decoder.get(), &rgba, &time) == 0)
    throw DecodeError("the image data are damaged");
  const auto pixels = static_cast<std::size_t>(features.width) * static_cast<std::size_t>(features.height);
  const WebPDemuxer* demuxer = WebPAnimDecoderGetDemuxer(decoder.get());
  return {.height = features.height,
          .width = features.width,
          .channels = 3,
          .pixels = without_alpha(rgba, pixels),
          .orientation = orientation_of(chunk(demuxer, "EXIF"), chunk(demuxer, "XMP "))};
}

}  // namespace lshdp::data
