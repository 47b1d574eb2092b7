// What `lshdp --version` prints: the program, the devices here, and the libraries that it found.
#pragma once
#include <string>

namespace lshdp::cli {

/// Lines; the first names program, build and devices, each further one a library, its version and where it was loaded
/// from.
std::string version_text();

}  // namespace lshdp::cli
