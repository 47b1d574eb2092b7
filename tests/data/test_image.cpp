// Decoding of image files: the pixels are Pillow's, and what is damaged or of another kind is refused with its cause.
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "files.h"
#include "image.h"
#include "lshdp/core/file.h"
#include "support/temporary_directory.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;

/// Made by scripts/make_image_references.py.
const fs::path kImages = fs::path(LSHDP_TEST_DATA) / "images";

/// A PPM or PGM file, as Pillow writes it: "P6\n21 14\n255\n" and the pixels.
Image read_reference(const fs::path& path) {
  const std::string content = read_file(path);
  int width = 0, height = 0, length = 0;
  EXPECT_EQ(std::sscanf(content.c_str() + 2, "%d %d 255%n", &width, &height, &length), 2) << path;
  Image image{content[1] == '6' ? 3 : 1, height, width, {}};
  const std::string_view pixels = std::string_view(content).substr(static_cast<std::size_t>(length) + 3);
  const auto channels = static_cast<std::size_t>(image.channels);
  for (std::size_t c = 0; c < channels; ++c) {
    for (std::size_t i = c; i < pixels.size(); i += channels)
      image.pixels.push_back(static_cast<std::uint8_t>(pixels[i]));
  }
  return image;
}

/// How far the farthest pixel is from the reference's; 256 if the shapes differ.
int distance(const Image& image, const Image& reference) {
  if (image.channels != reference.channels || image.height != reference.height || image.width != reference.width)
    return 256;
  int farthest = 0;
  for (std::size_t i = 0; i < image.pixels.size(); ++i)
    farthest = std::max(farthest, std::abs(image.pixels[i] - reference.pixels[i]));
  return farthest;
}

Image decode(const fs::path& path, int channels) { return decode_image(read_file(path), path.string(), channels); }

std::string cause(const std::string& content) {
  try {
    decode_image(content, "F", 3);
  } catch (const ImageError& error) {
    EXPECT_EQ(error.what(), "F: " + error.cause());
    return error.cause();
  }
  return "no error";
}

std::string file(const char* name) { return read_file(kImages / name); }

/// `text` with one byte changed.
std::string with_byte(std::string text, std::size_t at, char value) {
  text[at] = value;
  return text;
}

TEST(DecodeImage, GivesThePixelsOfPillow) {
  int files = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(kImages)) {
    if (entry.path().extension() == ".ppm" || entry.path().extension() == ".pgm") continue;
    fs::path reference = entry.path();
    EXPECT_EQ(distance(decode(entry.path(), 3), read_reference(reference.replace_extension(".ppm"))), 0)
        << entry.path().filename();
    ++files;
  }
  EXPECT_EQ(files, 45);
}

TEST(DecodeImage, GivesTheGreyOfPillow) {
  for (const char* name : {"jpeg-420.jpg", "png-palette.png", "png-rgba.png"}) {
    fs::path reference = kImages / name;
    EXPECT_EQ(distance(decode(kImages / name, 1), read_reference(reference.replace_extension(".pgm"))), 0) << name;
  }
}

TEST(DecodeImage, SaysWhichImagesHad16Bits) {
  EXPECT_TRUE(decode(kImages / "png-grey-16-bits.png", 3).had_16_bits);
  EXPECT_FALSE(decode(kImages / "png-grey-4-bits.png", 3).had_16_bits);
}

TEST(DecodeImage, ResizesAndCropsAsTorchvision) {
  const Image image = decode(kImages / "png-rgb.png", 3);
  // Pillow rounds between its two passes, ATen after both.
  EXPECT_LE(distance(resized(image, 9, 9), read_reference(kImages / "resized-square.ppm")), 1);
  EXPECT_LE(distance(centre_crop(image, 11, 8), read_reference(kImages / "resized-crop.ppm")), 1);
  Image upright{3, image.width, image.height, {}};  // turned to the left
  for (std::int64_t c = 0; c < 3; ++c) {
    for (std::int64_t y = 0; y < upright.height; ++y) {
      for (std::int64_t x = 0; x < upright.width; ++x) {
        upright.pixels.push_back(
            image.pixels[static_cast<std::size_t>((c * image.height + x) * image.width + image.width - 1 - y)]);
      }
    }
  }
  EXPECT_LE(distance(centre_crop(upright, 20, 17), read_reference(kImages / "enlarged-crop.ppm")), 1);
}

TEST(DecodeImage, ReadsWhatCamerasWriteBetweenMarkers) {
  const std::string whole = file("jpeg-420.jpg");
  const std::size_t tables = whole.find("\xff\xdb");
  const std::string stray = whole.substr(0, tables) + std::string("\0\0\0", 3) + whole.substr(tables);
  const Image expected = decode_image(whole, "F", 3);
  EXPECT_EQ(distance(decode_image(stray, "F", 3), expected), 0);
  EXPECT_EQ(distance(decode_image(whole + std::string(40, '\0'), "F", 3), expected), 0);  // after the end
}

TEST(DecodeImage, RefusesJpegsThatEndEarly) {
  for (const char* name : {"jpeg-420.jpg", "jpeg-444-progressive.jpg", "jpeg-restarts.jpg"}) {
    const std::string whole = file(name), part = whole.substr(0, whole.size() - 60);
    EXPECT_EQ(cause(part), "cannot decode as JPEG: the image data end early");
    EXPECT_EQ(cause(part + "\xff\xd9"), "cannot decode as JPEG: the image data end early");
    EXPECT_EQ(cause(whole.substr(0, whole.size() - 2)), "cannot decode as JPEG: the image data end early");
  }
  EXPECT_THAT(cause(file("jpeg-420.jpg").substr(0, 100)), HasSubstr("cannot decode as JPEG: "));
}

TEST(DecodeImage, RefusesJpegsWithOtherDataThanHuffmanCodes) {
  std::string damaged = file("jpeg-420.jpg");
  const std::size_t scan = damaged.find("\xff\xda") + 14;
  for (std::size_t i = 0; i < 60; i += 2) {
    damaged[scan + i] = '\xff';  // a byte of ones, which no code begins with
    damaged[scan + i + 1] = '\0';
  }
  EXPECT_THAT(cause(damaged), HasSubstr("cannot decode as JPEG: "));
}

TEST(DecodeImage, RefusesPngsWithAWrongChecksum) {
  const std::string whole = file("png-rgb.png");
  const std::size_t data = whole.find("IDAT");
  EXPECT_THAT(cause(with_byte(whole, data + 40, 'x')), HasSubstr("cannot decode as PNG: IDAT"));
  EXPECT_THAT(cause(with_byte(whole, whole.size() - 1, 'x')), AllOf(HasSubstr("IEND"), HasSubstr("CRC")));
  // The zlib stream's own checksum, under a right CRC.
  const auto damaged = [&](std::size_t before_end) {
    const std::string png = test::png(4, 4, 1, std::string(16, 'g'));
    const std::size_t begin = png.find("IDAT"), end = png.find("IEND") - 8;
    std::string body = png.substr(begin, end - begin);
    body[body.size() - before_end] = static_cast<char>(body[body.size() - before_end] ^ 1);
    const auto check = crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
    return png.substr(0, begin) + body + test::big_endian(static_cast<std::uint32_t>(check)) + png.substr(end + 4);
  };
  EXPECT_EQ(cause(damaged(1)), "cannot decode as PNG: IDAT: incorrect data check");
}

TEST(DecodeImage, RefusesPngsThatEndEarly) {
  const std::string whole = file("png-rgb.png");
  for (const std::size_t length : {whole.size() - 1, whole.size() - 12, whole.size() / 2, std::size_t{30}}) {
    EXPECT_EQ(cause(whole.substr(0, length)), "cannot decode as PNG: the file ends early") << length;
  }
  // The header announces four rows; two are there.
  const std::string few =
      test::png(4, 4, 1, std::string(16, 'g')).substr(0, 33) + test::png(4, 2, 1, std::string(8, 'g')).substr(33);
  EXPECT_THAT(cause(few), HasSubstr("cannot decode as PNG: "));
}

TEST(DecodeImage, TakesNoMemoryForPngChunksLongerThanTheFile) {
  std::string damaged = file("png-rgb.png");
  damaged.replace(33, 4, test::big_endian(0x7d000052));  // the length of the chunk behind the header, 2 GiB
  EXPECT_EQ(cause(damaged), "cannot decode as PNG: the file ends early");
  rusage usage{};
  ASSERT_EQ(getrusage(RUSAGE_SELF, &usage), 0);
  EXPECT_LT(usage.ru_maxrss, 1 << 20);  // KiB
}

TEST(DecodeImage, RefusesDamagedWebp) {
  const std::string whole = file("webp-lossless.webp");
  EXPECT_EQ(cause(whole.substr(0, whole.size() - 10)), "cannot decode as WebP: the file ends early");
  EXPECT_THAT(cause(whole.substr(0, 12)), HasSubstr("cannot decode as WebP: "));
  std::string damaged = whole;
  for (std::size_t i = 30; i < damaged.size(); ++i) damaged[i] = '\xff';
  EXPECT_THAT(cause(damaged), HasSubstr("cannot decode as WebP: "));
}

TEST(DecodeImage, NamesOtherKindsOfFiles) {
  EXPECT_EQ(cause(""), "the file is empty");
  EXPECT_EQ(cause("GIF89a..."), "is a GIF image; convert it to PNG or JPEG");
  EXPECT_EQ(cause("BM......"), "is a BMP image; convert it to PNG or JPEG");
  EXPECT_EQ(cause(std::string("II*\0\10\0\0\0", 8)), "is a TIFF image; convert it to PNG or JPEG");
  EXPECT_EQ(cause(std::string("\0\0\0\x1c", 4) + "ftypavif...."), "is an AVIF image; convert it to PNG or JPEG");
  EXPECT_EQ(cause(std::string("\0\0\0\x1c", 4) + "ftypheic...."), "is a HEIC image; convert it to PNG or JPEG");
  EXPECT_EQ(cause(std::string("\0\0\0\x1c", 4) + "ftypisom...."), "is a video, not an image");
  EXPECT_EQ(cause("<!DOCTYPE html>"), "is a web page, not an image; download the file itself");
  EXPECT_EQ(cause("version https://git-lfs.github.com/spec/v1"),
            "is a pointer of Git LFS, not an image; fetch the file itself with git lfs pull");
  EXPECT_EQ(cause("hello"), "is neither a JPEG, a PNG nor a WebP image");
}

TEST(DecodeImage, RefusesMorePixelsThanAskedFor) {
  EXPECT_THROW(decode_image(file("png-rgb.png"), "F", 3, 21 * 14 - 1), ImageError);
  EXPECT_NO_THROW(decode_image(file("png-rgb.png"), "F", 3, 21 * 14));
  // A header that announces 60000 x 60000 pixels.
  std::string huge = test::png(1, 1, 1, "x").substr(0, 16) + test::big_endian(60000) + test::big_endian(60000) +
                     std::string("\x08\0\0\0\0", 5);
  const auto check = crc32(0, reinterpret_cast<const Bytef*>(huge.data() + 12), 17);
  huge += test::big_endian(static_cast<std::uint32_t>(check)) + test::png(1, 1, 1, "x").substr(33);
  EXPECT_EQ(cause(huge), "cannot decode as PNG: it has 60000 x 60000 pixels, more than 178,956,970");
}

}  // namespace
}  // namespace lshdp::data
