// PNG through libpng, which checks every chunk's CRC; a wrong checksum of the image data is an error as well.
#include <csetjmp>
#include <cstring>

#include <png.h>

#include "decoded.h"

namespace lshdp::data {
namespace {

/// What libpng reads from and reports to. It leaves its functions by longjmp, past frames that hold nothing to destroy.
struct Source {
  std::string_view content;
  std::string cause;
};

[[noreturn]] void handle_error(png_structp png, png_const_charp message) {
  static_cast<Source*>(png_get_error_ptr(png))->cause = message;
  png_longjmp(png, 1);
}

/// libpng only warns where the image data's own checksum is wrong, because the pixels are there by then.
void handle_warning(png_structp png, png_const_charp message) {
  if (std::strncmp(message, "IDAT:", 5) == 0 && std::strstr(message, "Extra compressed data") == nullptr &&
      std::strstr(message, "Too much image data") == nullptr) {
    handle_error(png, message);
  }
}

void read_bytes(png_structp png, png_bytep to, std::size_t count) {
  auto* source = static_cast<Source*>(png_get_io_ptr(png));
  if (count > source->content.size()) png_error(png, "the file ends early");
  std::memcpy(to, source->content.data(), count);
  source->content.remove_prefix(count);
}

/// A decoder, destroyed with this object.
class Decoder {
 public:
  explicit Decoder(std::string_view content)
      : source_{content, {}},
        png_(png_create_read_struct(PNG_LIBPNG_VER_STRING, &source_, handle_error, handle_warning)),
        info_(png_ == nullptr ? nullptr : png_create_info_struct(png_)) {
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw DecodeError("out of memory");
    }
    png_set_read_fn(png_, &source_, read_bytes);
    png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  }
  ~Decoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  png_structp png() const { return png_; }
  png_infop info() const { return info_; }

  /// Runs `work`, which must have nothing to destroy. Throws DecodeError where libpng gives up.
  template <typename Work>
  void run(Work work) {
    if (setjmp(png_jmpbuf(png_)) != 0) throw DecodeError(source_.cause);
    work();
  }

 private:
  Source source_;
  png_structp png_;
  png_infop info_;
};

/// To 8 bits, grey or RGB.
void choose_output(png_structp png, png_infop info) {
  png_set_palette_to_rgb(png);
  png_set_expand_gray_1_2_4_to_8(png);
  png_set_strip_16(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
}

/// The text chunk with this key, if there is one.
std::string text_chunk(const Decoder& decoder, std::string_view key) {
  png_textp texts = nullptr;
  int count = 0;
  png_get_text(decoder.png(), decoder.info(), &texts, &count);
  for (int i = 0; i < count; ++i) {
    const std::size_t length = texts[i].text_length > 0 ? texts[i].text_length : texts[i].itxt_length;
    if (texts[i].key == key && texts[i].text != nullptr) return {texts[i].text, length};
  }
  return {};
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/// ImageMagick's text chunk: three lines of introduction, then the bytes in hexadecimal.
std::string bytes_of_raw_profile(std::string_view text) {
  for (int line = 0; line < 3; ++line) text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  std::string bytes;
  int high = -1;
  for (const char c : text) {
    const int value = hex_value(c);
    if (value < 0) continue;
    if (high >= 0) bytes.push_back(static_cast<char>(high << 4 | value));
    high = high >= 0 ? -1 : value;
  }
  return bytes;
}

std::string exif_of(const Decoder& decoder) {
  png_bytep exif = nullptr;
  png_uint_32 length = 0;
  if (png_get_eXIf_1(decoder.png(), decoder.info(), &length, &exif) != 0)
    return {reinterpret_cast<const char*>(exif), length};
  const std::string profile = text_chunk(decoder, "Raw profile type exif");
  return profile.empty() ? "" : bytes_of_raw_profile(profile);
}

/// Throws where a chunk says that it is longer than the rest of the file. libpng would first clear as much memory, up
/// to 2 GiB.
void require_chunks_within(std::string_view content) {
  constexpr std::size_t kSignature = 8, kAroundChunk = 12;  // length, type and checksum
  const auto byte = [&](std::size_t at) { return static_cast<std::size_t>(static_cast<unsigned char>(content[at])); };
  for (std::size_t at = kSignature; at + kAroundChunk <= content.size();) {
    const std::size_t length = byte(at) << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3);
    if (content.substr(at + 4, 4) == "IEND") return;  // what follows is not read
    if (length > content.size() - at - kAroundChunk) throw DecodeError("the file ends early");
    at += kAroundChunk + length;
  }
}

}  // namespace

Decoded decode_png(std::string_view content, std::int64_t max_pixels) {
  require_chunks_within(content);
  Decoder decoder(content);
  png_structp png = decoder.png();
  png_infop info = decoder.info();
  decoder.run([&] { png_read_info(png, info); });
  Decoded image{png_get_image_height(png, info), png_get_image_width(png, info), 0, {}};
  require_size(image.width, image.height, max_pixels);
  image.had_16_bits = png_get_bit_depth(png, info) == 16;
  decoder.run([&] { choose_output(png, info); });
  image.channels = png_get_channels(png, info);
  const std::size_t row = static_cast<std::size_t>(image.width * image.channels);
  if (png_get_bit_depth(png, info) != 8 || row != png_get_rowbytes(png, info) ||
      (image.channels != 1 && image.channels != 3)) {
    throw DecodeError("it is neither grey nor RGB");
  }
  image.pixels.resize(row * static_cast<std::size_t>(image.height));
  std::vector<png_bytep> rows;
  for (std::size_t y = 0; y < static_cast<std::size_t>(image.height); ++y)
    rows.push_back(image.pixels.data() + y * row);
  decoder.run([&] {
    png_read_image(png, rows.data());
    png_read_end(png, info);
  });
  image.orientation = orientation_of(exif_of(decoder), text_chunk(decoder, "XML:com.adobe.xmp"));
  return image;
}

}  // namespace lshdp::data
