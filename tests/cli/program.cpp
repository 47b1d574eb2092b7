// The built lshdp and mpirun, by the paths CMake knows.
#include "program.h"

#include <sstream>

namespace lshdp::test {

std::string lshdp_binary() { return LSHDP_BINARY; }

std::string mpirun_line(int ranks) { return "OMP_NUM_THREADS=1 " LSHDP_MPIRUN " -np " + std::to_string(ranks); }

CommandResult run_lshdp(const std::string& arguments, double limit_seconds) {
  return run_command(lshdp_binary() + " " + arguments, limit_seconds);
}

CommandResult run_lshdp_on(int ranks, const std::string& arguments, double limit_seconds) {
  return run_command(mpirun_line(ranks) + " " + lshdp_binary() + " " + arguments, limit_seconds);
}

int count_lines_with(const std::string& text, const std::string& prefix) {
  std::istringstream lines(text);
  int count = 0;
  for (std::string line; std::getline(lines, line);) count += line.starts_with(prefix) ? 1 : 0;
  return count;
}

}  // namespace lshdp::test
