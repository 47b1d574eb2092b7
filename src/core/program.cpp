// Texts that CMake put into the build.
#include "lshdp/core/program.h"

#include "lshdp/core/checksum.h"
#include "lshdp/core/version.h"

namespace lshdp {

Program this_program() {
  return {program_version(),
#include "sources_checksum.inc"
          , LSHDP_BUILD};
}

std::string executable_checksum() { return checksum_of_file("/proc/self/exe"); }

}  // namespace lshdp
