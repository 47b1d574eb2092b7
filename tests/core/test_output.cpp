// Standard output that cannot be written is an error, in a process of its own each time.
#include <algorithm>
#include <string>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lshdp/core/error.h"
#include "lshdp/core/output.h"

namespace lshdp {
namespace {

/// What print_output says in a child that has run `prepare`; "printed" if nothing went wrong.
template <typename Prepare>
std::string print_in_child(Prepare prepare) {
  int channel[2];
  EXPECT_EQ(::pipe2(channel, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    std::string text = "printed";
    try {
      prepare();
      guard_standard_streams();
      print_output("a line of {}\n", "text");
    } catch (const RunError& error) {
      text = error.what();
    }
    _exit(::write(channel[1], text.data(), text.size()) < 0 ? 1 : 0);
  }
  ::close(channel[1]);
  char buffer[256];
  const ssize_t length = ::read(channel[0], buffer, sizeof(buffer));
  ::close(channel[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status)) << "ended by signal " << WTERMSIG(status);
  return {buffer, static_cast<std::size_t>(std::max<ssize_t>(length, 0))};
}

TEST(PrintOutput, SaysWhyStandardOutputCannotBeWritten) {
  EXPECT_EQ(print_in_child([] { ::dup2(::open("/dev/full", O_WRONLY), 1); }),
            "cannot write standard output: No space left on device");
  EXPECT_EQ(print_in_child([] {
              int channel[2];
              if (::pipe(channel) == 0) ::dup2(channel[1], 1);
              ::close(channel[0]);
            }),
            "cannot write standard output: Broken pipe");
  EXPECT_EQ(print_in_child([] { ::close(1); }), "cannot write standard output: Bad file descriptor");
  EXPECT_EQ(print_in_child([] { ::dup2(::open("/dev/null", O_WRONLY), 1); }), "printed");
}

TEST(GuardStandardStreams, KeepsFilesFromTheirPlaces) {
  EXPECT_EQ(print_in_child([] {
              ::close(1);
              guard_standard_streams();
              if (::open("/dev/null", O_WRONLY) <= 2) throw RunError("a file took the place of a standard stream");
            }),
            "cannot write standard output: Bad file descriptor");
}

}  // namespace
}  // namespace lshdp
