// Images as a model wants them: augmented as bytes, then resized, scaled and normalised.
#include <cstring>

#include <fmt/format.h>

#include "lshdp/core/error.h"
#include "lshdp/data/loader.h"
#include "random.h"

namespace lshdp::data {
namespace {

/// Where the crop of one sample lies in its padded image, and whether it is mirrored.
struct Draw {
  std::int64_t down, right;  // from -padding to +padding
  bool flipped;
};

Draw draw(const Augmentation& augmentation, std::int64_t epoch, std::int64_t sample) {
  KeyedRandom random(augmentation.seed, static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(sample));
  const std::int64_t padding = augmentation.crop_padding;
  const std::int64_t down = random.below(2 * padding + 1) - padding, right = random.below(2 * padding + 1) - padding;
  return {down, right, augmentation.horizontal_flip && (random.next() >> 63) != 0};
}

/// Copies one row shifted by `right`, zeros where the source ends, and mirrors it if asked.
void copy_row(const std::uint8_t* from, std::uint8_t* to, std::int64_t width, const Draw& d) {
  for (std::int64_t x = 0; x < width; ++x) {
    const std::int64_t source = (d.flipped ? width - 1 - x : x) + d.right;
    to[x] = source >= 0 && source < width ? from[source] : std::uint8_t{0};
  }
}

at::Tensor augmented(const at::Tensor& images, std::span<const std::int64_t> samples, std::int64_t epoch,
                     const Augmentation& augmentation) {
  const at::Tensor result = at::zeros_like(images);
  const std::int64_t channels = images.size(1), height = images.size(2), width = images.size(3);
  const auto* from = images.const_data_ptr<std::uint8_t>();
  auto* to = result.mutable_data_ptr<std::uint8_t>();
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const Draw d = draw(augmentation, epoch, samples[i]);
    for (std::int64_t c = 0; c < channels; ++c, from += height * width, to += height * width) {
      for (std::int64_t y = std::max<std::int64_t>(0, -d.down); y < std::min(height, height - d.down); ++y) {
        copy_row(from + (y + d.down) * width, to + y * width, width, d);
      }
    }
  }
  return result;
}

at::Tensor per_channel(const std::vector<double>& values) {
  return at::tensor(values, at::kFloat).view({1, static_cast<std::int64_t>(values.size()), 1, 1});
}

void require_fitting(const at::Tensor& images, std::span<const std::int64_t> samples, const Preparation& preparation,
                     const DatasetInfo& info) {
  const std::int64_t padding = preparation.augmentation.crop_padding;
  if (padding < 0 || padding > (std::int64_t{1} << 20)) {
    throw UsageError(fmt::format("a crop padding of {} pixels; it must be from 0 to 1048576", padding));
  }
  if (preparation.image_size < 0) throw UsageError(fmt::format("an image size of {}", preparation.image_size));
  if (images.dim() != 4 || images.scalar_type() != at::kByte ||
      images.size(0) != static_cast<std::int64_t>(samples.size()) ||
      static_cast<std::size_t>(images.size(1)) != info.mean.size() || info.mean.size() != info.deviation.size()) {
    throw UsageError("images to prepare must be bytes [samples, C, H, W] with a mean and a deviation per channel");
  }
}

}  // namespace

at::Tensor prepare_images(const at::Tensor& images, std::span<const std::int64_t> samples, std::int64_t epoch,
                          const Preparation& preparation, const DatasetInfo& info) {
  require_fitting(images, samples, preparation, info);
  const std::int64_t size = preparation.image_size;
  const bool resize = size != 0 && (images.size(2) != size || images.size(3) != size);
  if (samples.empty()) {
    return at::empty({0, images.size(1), resize ? size : images.size(2), resize ? size : images.size(3)}, at::kFloat);
  }
  const bool augment = preparation.augmentation.crop_padding > 0 || preparation.augmentation.horizontal_flip;
  at::Tensor result = images.contiguous();
  if (augment) result = augmented(result, samples, epoch, preparation.augmentation);
  result = result.to(at::kFloat);
  if (resize)
    result = at::_upsample_bilinear2d_aa(result, {size, size}, /*align_corners=*/false, std::nullopt, std::nullopt);
  return result.div_(255).sub_(per_channel(info.mean)).div_(per_channel(info.deviation));
}

}  // namespace lshdp::data
