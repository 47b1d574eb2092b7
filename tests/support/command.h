// Runs a command line as a user would and keeps what it printed.
#pragma once
#include <string>

namespace lshdp::test {

struct CommandResult {
  int exit_code = -1;  // 124: it did not end within the limit and was killed
  std::string output;  // stdout, then stderr
  std::string errors;  // stderr alone
  double seconds = 0;
};

/// How long a command may take before it counts as hanging: many times what it takes, since a loaded machine gives it
/// only a part of a core.
inline constexpr double kHangSeconds = 240;

/// What is soon on such a machine; on one that is free it is a second or two.
inline constexpr double kSoonSeconds = 60;

/// Runs `command` in /bin/sh, at most `limit_seconds`.
CommandResult run_command(const std::string& command, double limit_seconds = kHangSeconds);

/// Shell that waits until `condition`, a command, succeeds: an event, however long it takes to come.
std::string wait_in_shell(const std::string& condition);

}  // namespace lshdp::test
