// Images and tokens made from a seed, with something in them to learn.
#include <fmt/format.h>

#include "image_output.h"
#include "lshdp/core/error.h"
#include "lshdp/data/converters.h"
#include "random.h"
#include "token_output.h"

namespace lshdp::data {
namespace {

void require_possible(const SyntheticImages& options, const ImageOutput& output) {
  const auto require = [](std::int64_t value, std::int64_t most, const char* what) {
    if (value < 1 || value > most) throw UsageError(fmt::format("{}: {}; it must be from 1 to {}", what, value, most));
  };
  require(options.count, std::int64_t{1} << 40, "number of images");
  require(options.channels, 1024, "channels");
  require(options.size, 16384, "image size");
  require(options.classes, 1'000'000, "classes");
  if (!output.class_names.empty() && static_cast<std::int64_t>(output.class_names.size()) != options.classes) {
    throw UsageError(
        fmt::format("{} class names are given for {} classes", output.class_names.size(), options.classes));
  }
}

/// A class brightens or darkens each cell of a 4 x 4 grid, in each channel by its own draw.
std::vector<int> pattern_of(std::int64_t label, std::int64_t channels) {
  KeyedRandom random(0x7061747465726eULL, static_cast<std::uint64_t>(label));
  std::vector<int> cells;
  for (std::int64_t i = 0; i < channels * 16; ++i) cells.push_back(random.below(2) == 0 ? -40 : 40);
  return cells;
}

void draw_image(const SyntheticImages& options, std::int64_t label, KeyedRandom& random,
                std::vector<std::uint8_t>& pixels) {
  const std::vector<int> cells = pattern_of(label, options.channels);
  pixels.clear();
  for (std::int64_t c = 0; c < options.channels; ++c) {
    for (std::int64_t y = 0; y < options.size; ++y) {
      for (std::int64_t x = 0; x < options.size; ++x) {
        const std::int64_t cell = c * 16 + y * 4 / options.size * 4 + x * 4 / options.size;
        const std::int64_t noise = random.below(161) - 80;
        pixels.push_back(static_cast<std::uint8_t>(128 + cells[static_cast<std::size_t>(cell)] + noise));
      }
    }
  }
}

std::vector<std::string> numbered(std::int64_t classes) {
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < classes; ++i) names.push_back(std::to_string(i));
  return names;
}

}  // namespace

void make_synthetic_images(const SyntheticImages& options, const ImageOutput& output) {
  require_possible(options, output);
  require_fitting_output(output, options.channels, {});
  ImageWriter writer(output.path, {options.count, options.channels, options.size, options.size});
  std::vector<std::uint8_t> pixels;
  for (std::int64_t i = 0; i < options.count; ++i) {
    KeyedRandom random(options.seed, static_cast<std::uint64_t>(i));
    const std::int64_t label = random.below(options.classes);
    draw_image(options, label, random, pixels);
    writer.add(pixels, std::vector<std::int64_t>{label});
  }
  writer.commit(output.class_names.empty() ? numbered(options.classes) : output.class_names,
                fmt::format("synthetic images, seed {}", options.seed), output.statistics);
}

void make_synthetic_tokens(std::int64_t count, std::int64_t vocabulary, std::uint64_t seed, const TokenOutput& output) {
  if (vocabulary < 1 || vocabulary > (std::int64_t{1} << 31) - 1) {
    throw UsageError(fmt::format("a vocabulary of {}; it must be from 1 to 2147483647", vocabulary));
  }
  SplitTokenWriter writer(output, count, vocabulary);
  KeyedRandom random(seed);
  std::int64_t token = random.below(vocabulary);
  std::vector<std::uint32_t> block;
  for (std::int64_t i = 0; i < count; ++i) {
    block.push_back(static_cast<std::uint32_t>(token));
    token = random.below(4) != 0 ? KeyedRandom(0x6e657874ULL, static_cast<std::uint64_t>(token)).below(vocabulary)
                                 : random.below(vocabulary);
    if (block.size() == 1 << 16 || i + 1 == count) {
      writer.add(block);
      block.clear();
    }
  }
  writer.commit({}, fmt::format("synthetic tokens, seed {}", seed));
}

}  // namespace lshdp::data
