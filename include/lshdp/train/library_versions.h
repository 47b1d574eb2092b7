// The versions of the libraries that this program runs with.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace lshdp::train {

/// Name and version of LibTorch, HDF5 and oneDNN.
std::vector<std::pair<std::string, std::string>> library_versions();

}  // namespace lshdp::train
