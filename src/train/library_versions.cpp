// What the libraries say of themselves.
#include "lshdp/train/library_versions.h"

#include <ATen/Version.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <torch/version.h>

namespace lshdp::train {
namespace {

/// The word behind `name` in LibTorch's own description of its parts.
std::string word_after(const std::string& text, const std::string& name) {
  const std::size_t found = text.find(name);
  if (found == std::string::npos) return "none";
  const std::size_t begin = found + name.size();
  return text.substr(begin, text.find_first_of(" \n", begin) - begin);
}

}  // namespace

std::vector<std::pair<std::string, std::string>> library_versions() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return {{"LibTorch", TORCH_VERSION},
          {"oneDNN", word_after(at::show_config(), "MKL-DNN v")},
          {"HDF5", fmt::format("{}.{}.{}", major, minor, release)}};
}

}  // namespace lshdp::train
