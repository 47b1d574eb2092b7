// Which lshdp this is.
#pragma once
#include <string>

namespace lshdp {

/// "lshdp 0.1.0"
std::string program_version();

}  // namespace lshdp
