// Progress draws one line in place on a terminal and nothing where it is not wanted.
#include <string>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include "lshdp/core/progress.h"

namespace lshdp {
namespace {

using testing::HasSubstr;

/// While it lives, standard error is a terminal of `columns` columns.
class TerminalOnStderr {
 public:
  explicit TerminalOnStderr(unsigned short columns) : saved_(dup(STDERR_FILENO)) {
    const winsize size{24, columns, 0, 0};
    int terminal = -1;
    if (openpty(&other_end_, &terminal, nullptr, nullptr, &size) != 0) return;
    dup2(terminal, STDERR_FILENO);
    close(terminal);
  }
  ~TerminalOnStderr() {
    dup2(saved_, STDERR_FILENO);
    close(saved_);
    close(other_end_);
  }
  TerminalOnStderr(const TerminalOnStderr&) = delete;
  TerminalOnStderr& operator=(const TerminalOnStderr&) = delete;
  bool made() const { return other_end_ >= 0; }
  /// What was written since the last call.
  std::string shown() const {
    std::string text;
    char buffer[4096];
    for (pollfd ready{other_end_, POLLIN, 0}; poll(&ready, 1, 50) > 0;) {
      const ssize_t count = read(other_end_, buffer, sizeof buffer);
      if (count <= 0) break;
      text.append(buffer, static_cast<std::size_t>(count));
    }
    return text;
  }

 private:
  int saved_;
  int other_end_ = -1;
};

TEST(Progress, SaysNothingWhenItIsNotEnabled) {
  testing::internal::CaptureStderr();
  Progress progress("work", 10, false);
  progress.update(5);
  progress.clear();
  EXPECT_FALSE(progress.on_terminal());
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Progress, DoesNotFillALogFileWithLines) {
  testing::internal::CaptureStderr();
  Progress progress("work", 10, true);
  for (int done = 0; done <= 10; ++done) progress.update(done);
  EXPECT_FALSE(progress.on_terminal());
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Progress, DrawsABarAndRemovesIt) {
  const TerminalOnStderr terminal(100);
  if (!terminal.made()) GTEST_SKIP() << "no pseudo-terminal here";
  Progress progress("training", 100, true);
  EXPECT_TRUE(progress.on_terminal());
  progress.update(50, "loss 1.5");
  const std::string drawn = terminal.shown();
  EXPECT_THAT(drawn, HasSubstr("[############............] training 50/100  loss 1.5"));
  EXPECT_THAT(drawn, HasSubstr("left"));
  progress.clear();
  EXPECT_EQ(terminal.shown(), "\r\033[K");
}

TEST(Progress, CountsPartsOfAUnit) {
  const TerminalOnStderr terminal(100);
  if (!terminal.made()) GTEST_SKIP() << "no pseudo-terminal here";
  Progress progress("measuring", 195, true, 10, " s");
  progress.update(108);
  EXPECT_THAT(terminal.shown(), HasSubstr("measuring 10/20 s  "));
}

TEST(Progress, KeepsToTheWidthOfTheTerminal) {
  const TerminalOnStderr terminal(40);
  if (!terminal.made()) GTEST_SKIP() << "no pseudo-terminal here";
  Progress progress("training", 100, true);
  progress.update(200, std::string(200, 'x'));
  EXPECT_LE(terminal.shown().size(), 39 + std::string("\r\033[K").size());
}

TEST(Progress, AcceptsNoWorkAtAll) {
  const TerminalOnStderr terminal(80);
  if (!terminal.made()) GTEST_SKIP() << "no pseudo-terminal here";
  Progress progress("nothing", 0, true);
  progress.update(0);
  EXPECT_THAT(terminal.shown(), HasSubstr("nothing 0/1"));
}

}  // namespace
}  // namespace lshdp
