// Files by mkstemp.
#include "scratch_file.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>

#include <unistd.h>

namespace lshdp::test {

ScratchFile::ScratchFile(std::string_view content) {
  std::string name = (std::filesystem::temp_directory_path() / "lshdp-fuzz-XXXXXX").string();
  const int descriptor = mkstemp(name.data());
  path_ = name;
  const bool whole =
      descriptor >= 0 && write(descriptor, content.data(), content.size()) == static_cast<ssize_t>(content.size());
  if (descriptor >= 0) close(descriptor);
  if (!whole) throw std::runtime_error("cannot write " + name);
}

ScratchFile::~ScratchFile() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace lshdp::test
