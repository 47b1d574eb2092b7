// The kernel's host name.
#include "lshdp/core/host.h"

#include <array>

#include <unistd.h>

#include "lshdp/core/text.h"

namespace lshdp {

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? valid_utf8(name.data()) : "unknown";
}

}  // namespace lshdp
