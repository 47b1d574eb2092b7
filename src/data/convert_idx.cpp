// MNIST's IDX files as a data set.
#include <algorithm>

#include <fmt/format.h>

#include "image_output.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/core/text.h"
#include "lshdp/data/converters.h"
#include "lshdp/data/formats.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> read_bytes(const fs::path& path) {
  const std::string content = read_file(path);
  return decompressed(std::as_bytes(std::span(content)), path.string());
}

IdxArray parse_array(const std::vector<std::byte>& bytes, const fs::path& path, std::size_t dimensions,
                     const char* meaning) {
  IdxArray array = parse_idx(bytes, path.string());
  if (array.shape.size() != dimensions) {
    throw UsageError(
        fmt::format("{}: has {} dimensions; {} have {}", path.string(), array.shape.size(), meaning, dimensions));
  }
  if (array.values.empty()) throw UsageError(fmt::format("{}: holds no {}", path.string(), meaning));
  return array;
}

/// Labels as numbers, all below `classes` unless that is 0.
std::vector<std::int64_t> labels_of(const IdxArray& array, const fs::path& path, std::size_t classes) {
  std::vector<std::int64_t> labels;
  for (const std::byte value : array.values) {
    const auto label = std::to_integer<std::int64_t>(value);
    if (classes != 0 && label >= static_cast<std::int64_t>(classes)) {
      throw UsageError(fmt::format("{}: the label of image {} is {}, but there are names for {} classes", path.string(),
                                   labels.size(), label, classes));
    }
    labels.push_back(label);
  }
  return labels;
}

std::vector<std::string> numbered_classes(const std::vector<std::int64_t>& labels) {
  std::vector<std::string> names;
  for (std::int64_t i = 0; i <= *std::max_element(labels.begin(), labels.end()); ++i)
    names.push_back(std::to_string(i));
  return names;
}

}  // namespace

void convert_idx(const fs::path& images_path, const fs::path& labels_path, const ImageOutput& output) {
  require_fitting_output(output, 1, {images_path, labels_path});
  const std::vector<std::byte> image_bytes = read_bytes(images_path), label_bytes = read_bytes(labels_path);
  const IdxArray images = parse_array(image_bytes, images_path, 3, "images");
  const auto labels =
      labels_of(parse_array(label_bytes, labels_path, 1, "labels"), labels_path, output.class_names.size());
  if (static_cast<std::int64_t>(labels.size()) != images.shape[0]) {
    throw UsageError(fmt::format("{} holds {} images, but {} holds {} labels", images_path.string(), images.shape[0],
                                 labels_path.string(), labels.size()));
  }
  ImageWriter writer(output.path, {images.shape[0], 1, images.shape[1], images.shape[2]});
  writer.add({reinterpret_cast<const std::uint8_t*>(images.values.data()), images.values.size()}, labels);
  writer.commit(output.class_names.empty() ? numbered_classes(labels) : output.class_names,
                printable(fmt::format("IDX {} {}", images_path.filename().string(), labels_path.filename().string())),
                output.statistics);
}

}  // namespace lshdp::data
