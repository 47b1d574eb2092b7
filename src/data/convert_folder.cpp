// Folders of PNG and JPEG files, one per class, as a data set.
#include <cctype>

#include <fmt/format.h>

#include "image_file.h"
#include "lshdp/core/error.h"
#include "lshdp/core/log.h"
#include "lshdp/core/progress.h"
#include "lshdp/data/converters.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;

struct ImageFile {
  fs::path path;
  std::int64_t label = 0;
};

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> entries;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (!at->path().filename().string().starts_with('.')) entries.push_back(at->path());
  }
  if (error) throw UsageError(fmt::format("cannot read {}: {}", folder.string(), error.message()));
  std::sort(entries.begin(), entries.end());
  return entries;
}

bool is_image(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

std::vector<fs::path> class_folders(const fs::path& folder) {
  std::vector<fs::path> folders;
  for (const fs::path& entry : sorted_entries(folder)) {
    if (fs::is_directory(entry)) folders.push_back(entry);
  }
  if (folders.empty())
    throw UsageError(fmt::format("{}: holds no folders; it must hold one per class", folder.string()));
  return folders;
}

std::vector<ImageFile> image_files(const std::vector<fs::path>& folders) {
  std::vector<ImageFile> files;
  for (std::size_t label = 0; label < folders.size(); ++label) {
    const std::size_t before = files.size();
    std::size_t others = 0;
    for (const fs::path& entry : sorted_entries(folders[label])) {
      if (is_image(entry)) {
        files.push_back({entry, static_cast<std::int64_t>(label)});
      } else {
        ++others;
      }
    }
    if (others > 0)
      spdlog::warn("{}: {} entries that are not .png, .jpg or .jpeg are left out", folders[label].string(), others);
    if (files.size() == before)
      throw UsageError(fmt::format("{}: holds no PNG or JPEG files", folders[label].string()));
  }
  return files;
}

std::vector<std::string> names_of(const std::vector<fs::path>& folders) {
  std::vector<std::string> names;
  for (const fs::path& folder : folders) names.push_back(folder.filename().string());
  return names;
}

void require_fitting(const FolderOptions& options, const ImageOutput& output, std::size_t classes) {
  if (options.channels != 1 && options.channels != 3) {
    throw UsageError(fmt::format("{} channels; choose 1 (grey) or 3 (RGB)", options.channels));
  }
  if (options.size < 0) throw UsageError(fmt::format("an image size of {}; it must be at least 1", options.size));
  if (!output.class_names.empty() && output.class_names.size() != classes) {
    throw UsageError(fmt::format("{} class names are given for {} folders", output.class_names.size(), classes));
  }
}

void require_same_size(const Image& image, const Image& first, const ImageFile& file, const ImageFile& first_file) {
  if (image.height == first.height && image.width == first.width) return;
  throw UsageError(fmt::format("{} is {} x {}, but {} is {} x {}; give --size S to resize all", file.path.string(),
                               image.width, image.height, first_file.path.string(), first.width, first.height));
}

Image load(const ImageFile& file, const FolderOptions& options) {
  const Image image = read_image(file.path, static_cast<int>(options.channels));
  return options.size == 0 ? image : resized(image, options.size);
}

}  // namespace

void convert_image_folder(const fs::path& folder, const FolderOptions& options, const ImageOutput& output) {
  const std::vector<fs::path> folders = class_folders(folder);
  require_fitting(options, output, folders.size());
  const std::vector<ImageFile> files = image_files(folders);
  const auto count = static_cast<std::int64_t>(files.size());
  const Image first = load(files.front(), options);
  ImageWriter writer(output.path, {count, first.channels, first.height, first.width});
  Progress progress("decoding images", count, options.show_progress);
  for (std::int64_t i = 0; i < count; ++i) {
    const ImageFile& file = files[static_cast<std::size_t>(i)];
    const Image image = load(file, options);
    require_same_size(image, first, file, files.front());
    writer.add(image.pixels, std::vector<std::int64_t>{file.label});
    progress.update(i + 1);
  }
  writer.commit(output.class_names.empty() ? names_of(folders) : output.class_names,
                fmt::format("images of {}", fs::absolute(folder).lexically_normal().filename().string()),
                output.statistics);
}

}  // namespace lshdp::data
