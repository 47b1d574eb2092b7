// Lists class folders and their files, and checks names that are given against those of the folders.
#include "class_folders.h"

#include <algorithm>
#include <array>
#include <cctype>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "image_output.h"
#include "lshdp/core/error.h"
#include "lshdp/core/log.h"
#include "lshdp/core/text.h"

namespace lshdp::data {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

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

/// Also by names of formats that are not read: such a file is refused by name, not left out.
bool is_image(const fs::path& path) {
  static constexpr std::array<std::string_view, 19> extensions{
      ".png",  ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif",  ".bmp", ".tif",
      ".tiff", ".ppm",  ".pgm", ".pbm",  ".jp2", ".jxl",  ".avif", ".heic", ".heif"};
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return std::find(extensions.begin(), extensions.end(), extension) != extensions.end();
}

std::vector<fs::path> class_folders(const fs::path& folder) {
  std::vector<fs::path> folders;
  std::error_code ignored;
  for (const fs::path& entry : sorted_entries(folder)) {
    if (fs::is_directory(entry, ignored)) folders.push_back(entry);
  }
  if (folders.empty())
    throw UsageError(fmt::format("{}: holds no folders; it must hold one per class", folder.string()));
  return folders;
}

/// A data set stores names as UTF-8; other bytes are stored as messages show them.
Names names_of(const std::vector<fs::path>& folders) {
  Names names;
  for (const fs::path& folder : folders) {
    const std::string name = folder.filename().string();
    names.push_back(printable(name));
    if (names.back() != name) spdlog::warn("the name of class folder {} is stored as '{}'", names.back(), names.back());
  }
  require_distinct(names, "class folders");
  return names;
}

void require_as_many(const Names& given, std::size_t folders) {
  if (given.size() == folders) return;
  throw UsageError(fmt::format("--class-names: {} names are given for {} folders", given.size(), folders));
}

/// Names are given in the order of labels, which is that of the folders, not the other way round.
void require_no_exchange(const Names& given, const Names& folders) {
  for (std::size_t label = 0; label < given.size(); ++label) {
    const bool of_another = std::find(folders.begin(), folders.end(), given[label]) != folders.end();
    if (given[label] == folders[label] || !of_another) continue;
    throw UsageError(
        fmt::format("--class-names would name the images of folder '{}' '{}', which is another folder's name; names "
                    "follow the folders' order ({}); for other labels give --classes-of a data set that has them",
                    folders[label], given[label], fmt::join(folders, ",")));
  }
}

bool is_number(const std::string& text) {
  return !text.empty() && text.size() < 19 &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

/// Folders 1, 2, 10 have labels 0, 2, 1.
void warn_of_numbers(const Names& names) {
  if (!std::all_of(names.begin(), names.end(), is_number)) return;
  for (std::size_t label = 1; label < names.size(); ++label) {
    if (std::stoll(names[label]) >= std::stoll(names[label - 1])) continue;
    spdlog::warn(
        "folders are numbered as text, as torchvision's ImageFolder does: folder {} is class {}, folder {} is "
        "class {}; names of one length (01, 02, 10) would keep their order",
        names[label - 1], label - 1, names[label], label);
    return;
  }
}

/// The label of each folder in a list of classes.
std::vector<std::int64_t> labels_in(const Names& classes, const Names& folders, const std::string& source) {
  std::vector<std::int64_t> labels;
  for (const std::string& name : folders) {
    const auto found = std::find(classes.begin(), classes.end(), name);
    if (found == classes.end())
      throw UsageError(fmt::format("--classes-of: {} has no class '{}', which is a folder here; its classes are {}",
                                   source, name, fmt::join(classes, ", ")));
    labels.push_back(found - classes.begin());
  }
  for (const std::string& name : classes) {
    if (std::find(folders.begin(), folders.end(), name) == folders.end())
      spdlog::info("class '{}' of {} has no folder here", name, source);
  }
  return labels;
}

/// Appends the image files of a folder.
void add_files(const fs::path& folder, std::int64_t label, std::vector<ImageFile>& files) {
  const std::size_t before = files.size();
  std::size_t others = 0;
  for (const fs::path& entry : sorted_entries(folder)) {
    if (is_image(entry)) {
      files.push_back({entry, label});
    } else {
      ++others;
    }
  }
  if (others > 0)
    spdlog::warn("{}: {} entries that are no image files by their names are left out", printable(folder.string()),
                 others);
  if (files.size() == before) throw UsageError(fmt::format("{}: holds no image files", folder.string()));
}

}  // namespace

LabelledFiles find_labelled_files(const fs::path& folder, const FolderOptions& options, const Names& class_names) {
  const std::vector<fs::path> folders = class_folders(folder);
  const Names names = names_of(folders);
  LabelledFiles result;
  std::vector<std::int64_t> labels;
  if (!options.classes.empty()) {
    labels = labels_in(options.classes, names, options.classes_source);
    result.class_names = options.classes;
  } else {
    for (std::size_t label = 0; label < names.size(); ++label) labels.push_back(static_cast<std::int64_t>(label));
    if (!class_names.empty()) {
      require_as_many(class_names, names.size());
      require_no_exchange(class_names, names);
    }
    warn_of_numbers(names);
    result.class_names = class_names.empty() ? names : class_names;
  }
  for (std::size_t i = 0; i < folders.size(); ++i) add_files(folders[i], labels[i], result.files);
  return result;
}

}  // namespace lshdp::data
