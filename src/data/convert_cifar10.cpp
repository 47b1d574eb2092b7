// CIFAR-10's binary batches as a data set.
#include <fmt/format.h>

#include "image_output.h"
#include "lshdp/core/error.h"
#include "lshdp/core/file.h"
#include "lshdp/data/converters.h"
#include "lshdp/data/formats.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> batch_files(const fs::path& folder, bool test) {
  if (test) return {folder / "test_batch.bin"};
  std::vector<fs::path> files;
  for (int i = 1; i <= 5; ++i) files.push_back(folder / fmt::format("data_batch_{}.bin", i));
  return files;
}

Cifar10Batch read_batch(const fs::path& path) {
  const std::string content = read_file(path);
  return parse_cifar10(std::as_bytes(std::span(content)), path.string());
}

std::vector<std::string> class_names(const ImageOutput& output) {
  const std::vector<std::string> names{"airplane", "automobile", "bird",  "cat",  "deer",
                                       "dog",      "frog",       "horse", "ship", "truck"};
  if (output.class_names.empty()) return names;
  if (output.class_names.size() != names.size()) {
    throw UsageError(fmt::format("{} class names are given; CIFAR-10 has 10 classes", output.class_names.size()));
  }
  return output.class_names;
}

}  // namespace

void convert_cifar10(const fs::path& folder, bool test, const ImageOutput& output) {
  const std::vector<std::string> names = class_names(output);
  const std::vector<fs::path> files = batch_files(folder, test);
  require_fitting_output(output, 3, files);
  std::vector<Cifar10Batch> batches;
  std::int64_t count = 0;
  for (const fs::path& file : files) {
    batches.push_back(read_batch(file));
    count += static_cast<std::int64_t>(batches.back().labels.size());
  }
  ImageWriter writer(output.path, {count, 3, 32, 32});
  for (const Cifar10Batch& batch : batches) writer.add(batch.pixels, batch.labels);
  writer.commit(names, test ? "CIFAR-10 test" : "CIFAR-10 training", output.statistics);
}

}  // namespace lshdp::data
