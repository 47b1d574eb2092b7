// Texts that CMake put into the build, and what the loader tells.
#include "lshdp/core/program.h"

#include <filesystem>

#include <link.h>

#include "lshdp/core/checksum.h"
#include "lshdp/core/version.h"

namespace lshdp {
namespace {

struct Search {
  std::string_view name;
  std::string found;
};

/// For dl_iterate_phdr, which ends where this is not 0.
int look_at(dl_phdr_info* library, std::size_t, void* data) {
  Search& search = *static_cast<Search*>(data);
  const std::string_view path = library->dlpi_name;
  if (!path.substr(path.rfind('/') + 1).starts_with(search.name)) return 0;
  search.found = path;
  return 1;
}

}  // namespace

Program this_program() {
  return {program_version(),
#include "sources_checksum.inc"
          , LSHDP_BUILD};
}

std::string executable_checksum() { return checksum_of_file("/proc/self/exe"); }

std::string loaded_library(std::string_view name) {
  Search search{name, ""};
  dl_iterate_phdr(look_at, &search);
  return std::filesystem::path(search.found).lexically_normal().string();  // as $ORIGIN/../lib led to it
}

}  // namespace lshdp
