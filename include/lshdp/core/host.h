// The name of this machine.
#pragma once
#include <string>

namespace lshdp {

/// What the kernel calls this machine, as valid UTF-8; "unknown" if it does not tell.
std::string host_name();

}  // namespace lshdp
