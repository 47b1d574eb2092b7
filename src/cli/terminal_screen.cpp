// Modes of a terminal by termios, and the control sequences that all terminals of today know (ECMA-48, xterm).
#include "terminal_screen.h"

#include <array>
#include <cerrno>
#include <csignal>

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lshdp/core/error.h"
#include "lshdp/core/output.h"

namespace lshdp::cli {
namespace {

constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP};

volatile std::sig_atomic_t signalled = 0;  // a handler has nothing else to write to

void note_signal(int) { signalled = 1; }

/// Without SA_RESTART: poll() ends. SIG_DFL: as the process began.
void set_handlers(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  for (const int signal : kSignals) ::sigaction(signal, &action, nullptr);
}

}  // namespace

bool has_terminal() { return ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1; }

TerminalScreen::TerminalScreen() {
  if (::tcgetattr(STDIN_FILENO, &before_) != 0) throw RunError("cannot read the modes of the terminal");
  set_handlers(note_signal);
  termios keys = before_;
  keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);
  keys.c_cc[VMIN] = 1;
  keys.c_cc[VTIME] = 0;
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &keys);
  print_output("\033[?1049h\033[?25l");  // the other screen, no cursor
}

TerminalScreen::~TerminalScreen() {
  try {
    print_output("\033[?25h\033[?1049l");
  } catch (const Error&) {
    // The terminal has gone.
  }
  ::tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  set_handlers(SIG_DFL);
}

ViewSize TerminalScreen::size() const {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) return {24, 80};
  return {size.ws_row, size.ws_col};
}

/// Over what was there, so that nothing flickers.
void TerminalScreen::show(const std::vector<std::string>& lines) const {
  std::string text = "\033[H";
  for (std::size_t i = 0; i < lines.size() && i < size().rows; ++i) text += (i > 0 ? "\r\n" : "") + lines[i] + "\033[K";
  print_output(text + "\033[J");
}

std::optional<char> TerminalScreen::wait_key(double seconds) const {
  if (signalled != 0) return kEnd;
  pollfd input{STDIN_FILENO, POLLIN, 0};
  const int ready = ::poll(&input, 1, static_cast<int>(1000 * seconds));
  if (signalled != 0) return kEnd;
  if (ready <= 0) return std::nullopt;
  char key = 0;
  const ssize_t count = ::read(STDIN_FILENO, &key, 1);
  if (count == 1) return key;
  return count < 0 && errno == EINTR ? std::nullopt : std::optional(kEnd);  // the terminal has gone
}

}  // namespace lshdp::cli
