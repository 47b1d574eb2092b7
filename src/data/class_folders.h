// Folders as classes: which files belong to which label, under which name.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "lshdp/data/converters.h"

namespace lshdp::data {

struct ImageFile {
  std::filesystem::path path;
  std::int64_t label = 0;
};

struct LabelledFiles {
  std::vector<ImageFile> files;
  std::vector<std::string> class_names;  // what a data set stores, by label
};

/// The image files in the folders of `folder`, classes and files in the order of their names as bytes, as torchvision's
/// ImageFolder numbers them; with `options.classes`, labels are the places in that list. Logs what is left out or may
/// surprise. Throws UsageError.
LabelledFiles find_labelled_files(const std::filesystem::path& folder, const FolderOptions& options,
                                  const std::vector<std::string>& class_names);

}  // namespace lshdp::data
