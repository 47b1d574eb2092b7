// The whole terminal as a screen that is drawn again and again, and the keys that are pressed meanwhile.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include <termios.h>

#include "top_view.h"

namespace lshdp::cli {

/// True if standard input and output are a terminal.
bool has_terminal();

/// While it lives, the terminal shows another screen, and gives keys at once, without showing them; afterwards it is as
/// it was, whatever ends its life. At most one at a time; SIGTERM, SIGHUP and SIGINT only end wait_key().
class TerminalScreen {
 public:
  TerminalScreen();
  ~TerminalScreen();
  TerminalScreen(const TerminalScreen&) = delete;
  TerminalScreen& operator=(const TerminalScreen&) = delete;
  /// As it is now: it may be made larger or smaller.
  ViewSize size() const;
  void show(const std::vector<std::string>& lines) const;
  /// The key that is pressed within so many seconds; none: there was none. Ctrl-C and signals are kEnd.
  std::optional<char> wait_key(double seconds) const;

  static constexpr char kEnd = '\x03';

 private:
  termios before_{};
};

}  // namespace lshdp::cli
