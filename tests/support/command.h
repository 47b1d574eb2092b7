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

/// Runs `command` in /bin/sh, at most `limit_seconds`.
CommandResult run_command(const std::string& command, double limit_seconds = 60);

}  // namespace lshdp::test
