// Versions of the libraries, and where the loader found them.
#include "lshdp/cli/version_text.h"

#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "lshdp/comm/mpi_communicator.h"
#include "lshdp/comm/nccl.h"
#include "lshdp/core/cuda.h"
#include "lshdp/core/program.h"
#include "lshdp/core/version.h"
#include "lshdp/train/library_versions.h"

namespace lshdp::cli {
namespace {

namespace fs = std::filesystem;

std::string devices_text() {
  std::string devices = built_with_cuda() ? "CUDA build, no CUDA device here" : "CPU build";
  for (int index = 0; index < cuda_device_count(); ++index) {
    const auto device = make_cuda_device(index);
    devices =
        fmt::format("{}{} {}", index == 0 ? "CUDA build; " : devices + ", ", device->name(), device->description());
  }
  return devices;
}

/// What the wheel says of itself, "2.11.0+cu130": the headers that we were built with may be of another one.
std::string wheel_version(const fs::path& library, const std::string& of_headers) {
  std::ifstream file(library.parent_path().parent_path() / "version.py");
  const std::string begin = "__version__ = '";
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(begin)) return line.substr(begin.size(), line.find('\'', begin.size()) - begin.size());
  }
  return of_headers;
}

/// "NAME VERSION: PATH", without the path where nothing of that name was loaded.
std::string line(const std::string& name, const std::string& version, const std::string& path) {
  return fmt::format("{} {}{}\n", name, version, path.empty() ? "" : ": " + path);
}

}  // namespace

std::string version_text() {
  std::string text = fmt::format("{} ({})\n", program_version(), devices_text());
  for (const auto& [name, version] : train::library_versions()) {
    const std::string path = name == "LibTorch" ? loaded_library("libtorch_cpu.so") : "";
    text += line(name, path.empty() ? version : wheel_version(path, version), path);
  }
  text += fmt::format("{}: {}\n", comm::mpi_version(), loaded_library("libmpi.so"));
  if (!cuda_version().empty()) text += line("CUDA", cuda_version(), loaded_library("libcudart.so"));
  if (!comm::nccl_version().empty()) text += line("NCCL", comm::nccl_version(), loaded_library("libnccl.so"));
  return text;
}

}  // namespace lshdp::cli
