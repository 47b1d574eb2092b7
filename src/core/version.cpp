// The version that CMakeLists.txt states.
#include "lshdp/core/version.h"

namespace lshdp {

std::string program_version() { return "lshdp " LSHDP_VERSION; }

}  // namespace lshdp
