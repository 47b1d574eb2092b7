// Standard output over POSIX calls: stdio would keep what does not fit until nobody asks any more.
#include "lshdp/core/output.h"

#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "lshdp/core/error.h"

namespace lshdp {
namespace {

/// True if a write that ended with `error` may be tried again; waits until it makes sense.
bool may_retry(int error) {
  if (error == EAGAIN) {
    pollfd output{STDOUT_FILENO, POLLOUT, 0};
    ::poll(&output, 1, -1);
  }
  return error == EAGAIN || error == EINTR;
}

}  // namespace

void guard_standard_streams() {
  std::signal(SIGPIPE, SIG_IGN);
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    // Opened for the other direction: using it remains an error.
    if (::fcntl(descriptor, F_GETFD) < 0) ::open("/dev/null", descriptor == 0 ? O_WRONLY : O_RDONLY);
  }
}

void print_output(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (!may_retry(errno)) {
      throw RunError(std::string("cannot write standard output: ") + std::strerror(errno));
    }
  }
}

}  // namespace lshdp
