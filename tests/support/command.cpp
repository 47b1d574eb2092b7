// Commands through the shell, with files for their output and timeout(1) for their limit.
#include "support/command.h"

#include <cstdlib>
#include <string>

#include <sys/wait.h>

#include "lshdp/core/clock.h"
#include "lshdp/core/file.h"
#include "support/temporary_directory.h"

namespace lshdp::test {
namespace {

std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

}  // namespace

CommandResult run_command(const std::string& command, double limit_seconds) {
  const TemporaryDirectory folder;
  const std::string out = (folder / "out").string(), err = (folder / "err").string();
  const double begun = now_seconds();
  const int status = std::system(("timeout -k 5 " + std::to_string(limit_seconds) + " sh -c " + quoted(command) + " >" +
                                  out + " 2>" + err + " </dev/null")
                                     .c_str());
  CommandResult result;
  result.seconds = now_seconds() - begun;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.errors = read_file(err);
  result.output = read_file(out) + result.errors;
  return result;
}

std::string wait_in_shell(const std::string& condition) {
  return "until " + condition + " >/dev/null 2>&1; do sleep 0.05; done; ";
}

}  // namespace lshdp::test
