// JPEG through libjpeg: warnings that mean missing or wrong image data are errors, others are what cameras write.
#include <array>
#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>
// After jpeglib.h, which it needs.
#include <jerror.h>

#include "decoded.h"

namespace lshdp::data {
namespace {

/// libjpeg's error handling: it leaves its functions by longjmp, past frames that hold nothing to destroy.
struct Errors : jpeg_error_mgr {
  std::jmp_buf escape;
  std::array<char, JMSG_LENGTH_MAX> text;
};

[[noreturn]] void leave(j_common_ptr decoder) {
  auto* errors = static_cast<Errors*>(decoder->err);
  errors->format_message(decoder, errors->text.data());
  std::longjmp(errors->escape, 1);
}

/// Restart markers out of order are not among them: libjpeg finds its place again.
bool means_damage(int code) {
  return code == JWRN_HIT_MARKER || code == JWRN_JPEG_EOF || code == JWRN_HUFF_BAD_CODE || code == JWRN_ARITH_BAD_CODE;
}

void handle_message(j_common_ptr decoder, int level) {
  if (level < 0 && means_damage(decoder->err->msg_code)) leave(decoder);
}

std::string cause_of(const Errors& errors) {
  if (errors.msg_code == JWRN_HIT_MARKER || errors.msg_code == JWRN_JPEG_EOF) return "the image data end early";
  return errors.text.data();
}

/// A decoder and its handling of errors; destroyed with this object.
class Decoder {
 public:
  explicit Decoder(std::string_view content) {
    decoder_.err = jpeg_std_error(&errors_);
    errors_.error_exit = leave;
    errors_.emit_message = handle_message;
    run([&] {
      jpeg_create_decompress(&decoder_);
      jpeg_mem_src(&decoder_, reinterpret_cast<const unsigned char*>(content.data()), content.size());
      jpeg_save_markers(&decoder_, JPEG_APP0 + 1, 0xffff);
    });
  }
  ~Decoder() { jpeg_destroy_decompress(&decoder_); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  jpeg_decompress_struct& get() { return decoder_; }

  /// Runs `work`, which must have nothing to destroy. Throws DecodeError where libjpeg gives up.
  template <typename Work>
  void run(Work work) {
    if (setjmp(errors_.escape) != 0) throw DecodeError(cause_of(errors_));
    work();
  }

 private:
  jpeg_decompress_struct decoder_{};
  Errors errors_{};
};

/// The data after `prefix` of all its APP1 segments in a row.
std::string application_data(const jpeg_decompress_struct& decoder, std::string_view prefix) {
  std::string result;
  for (const jpeg_marker_struct* marker = decoder.marker_list; marker != nullptr; marker = marker->next) {
    const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
    if (data.starts_with(prefix)) result += data.substr(prefix.size());
  }
  return result;
}

int stored_orientation(const jpeg_decompress_struct& decoder) {
  constexpr std::string_view exif("Exif\0\0", 6), xmp("http://ns.adobe.com/xap/1.0/\0", 29);
  return orientation_of(application_data(decoder, exif), application_data(decoder, xmp));
}

/// To RGB as Pillow does, which takes all such files for Adobe's, where 255 is no ink.
void rgb_from_inverted_cmyk(std::vector<std::uint8_t>& pixels) {
  std::size_t to = 0;
  for (std::size_t at = 0; at < pixels.size(); at += 4) {
    const int white = pixels[at + 3];  // 255 - K
    for (std::size_t c = 0; c < 3; ++c) {
      const int product = (255 - pixels[at + c]) * white + 128;
      pixels[to++] = static_cast<std::uint8_t>(std::max(0, white - ((product >> 8) + product) / 256));
    }
  }
  pixels.resize(to);
}

}  // namespace

Decoded decode_jpeg(std::string_view content, std::int64_t max_pixels) {
  Decoder owner(content);
  jpeg_decompress_struct& decoder = owner.get();
  owner.run([&] { jpeg_read_header(&decoder, TRUE); });
  require_size(decoder.image_width, decoder.image_height, max_pixels);
  const int orientation = stored_orientation(decoder);  // libjpeg drops markers at the end
  const bool cmyk = decoder.num_components == 4;
  if (decoder.num_components == 3) decoder.out_color_space = JCS_RGB;
  if (cmyk) decoder.out_color_space = JCS_CMYK;
  owner.run([&] { jpeg_start_decompress(&decoder); });
  Decoded image{decoder.output_height, decoder.output_width, decoder.output_components, {}};
  const std::size_t row = static_cast<std::size_t>(image.width * image.channels);
  image.pixels.resize(row * static_cast<std::size_t>(image.height));
  std::uint8_t* pixels = image.pixels.data();
  owner.run([&] {
    while (decoder.output_scanline < decoder.output_height) {
      JSAMPROW line = pixels + decoder.output_scanline * row;
      jpeg_read_scanlines(&decoder, &line, 1);
    }
    jpeg_finish_decompress(&decoder);
  });
  if (cmyk) {
    rgb_from_inverted_cmyk(image.pixels);
    image.channels = 3;
  }
  if (image.channels != 1 && image.channels != 3) throw DecodeError("it is neither grey, RGB nor CMYK");
  image.orientation = orientation;
  return image;
}

}  // namespace lshdp::data
